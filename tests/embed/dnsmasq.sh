#!/bin/sh
# The example of scripts/hosts/ for dnsmasq on loopback: of the devices that have an address, the camera comes on the
# list. Left out without dnsmasq for Lua 5.4, and without the rights that its DHCP needs.
. "$NNLUA_SOURCE/tests/embed/hosts/server.sh"
needs dnsmasq ldd
[ "$(id -u)" = 0 ] || skip "DHCP needs the rights of root"
dnsmasq --version | grep -q ' Lua ' || skip "This dnsmasq has no Lua"
ldd "$(command -v dnsmasq)" 2>/dev/null | grep -q 'liblua5\.4' || skip "This dnsmasq does not run in Lua 5.4"

train_words '0\tannas-laptop msft\n0\tphone-of-ben android\n0\toffice-printer\n0\tlaptop of carl
1\tipcam-front door\n1\tcamera garden\n1\tsmart-plug kitchen\n1\tdoorbell camera\n'

soon=$(($(date +%s) + 86400))
{
    echo "$soon 02:00:00:00:00:01 127.0.0.11 ipcam-garden *"
    echo "$soon 02:00:00:00:00:02 127.0.0.12 annas-laptop *"
    echo "$soon 02:00:00:00:00:03 127.0.0.13 * *"
} >"$folder/leases"

NNLUA_MODEL=$folder/model NNLUA_LIST=$folder/list.log LUA_CPATH="$NNLUA_BUILD/?.so;;" \
    timeout 60 dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user="$(id -un)" --port=0 \
    --interface=lo --bind-interfaces --dhcp-alternate-port=$port,$((port + 1)) --dhcp-range=127.0.0.10,127.0.0.50,1h \
    --dhcp-leasefile="$folder/leases" --dhcp-luascript="$NNLUA_SOURCE/scripts/hosts/dnsmasq.lua" --dhcp-scriptuser="$(id -un)" \
    --log-facility="$folder/dnsmasq.log" >"$folder/out.log" 2>&1 &
server=$!

# init has made an empty list, and the leases follow.
until_up grep -q . "$folder/list.log"
[ "$(wc -l <"$folder/list.log")" = 1 ] || fail "the list has more or less than the camera"
grep -qE '^127\.0\.0\.11 02:00:00:00:00:01 (0\.[89]|1\.0).* ipcam-garden$' "$folder/list.log" || fail "the camera is not on the list"
stop_server
grep -qiE 'error|failed' "$folder/dnsmasq.log" && fail "the script failed"
echo "dnsmasq lists: $(cat "$folder/list.log")"
