#!/bin/sh
# The example of scripts/hosts/ for Prosody on loopback: a client sends itself messages, Prosody logs the score of each
# and sends back the one that scores high. Left out without Prosody for Lua 5.4.
set -eu
cd "$NNLUA_SOURCE"

sanitize=$(sed -n 's/^NNLUA_SANITIZE:[A-Z]*=//p' "$NNLUA_BUILD/CMakeCache.txt")
[ -z "$sanitize" ] || { echo "Prosody does not load a module with sanitizers: skipped." && exit 0; }
PATH=$PATH:/usr/sbin
prosody=$(command -v prosody) || { echo "There is no Prosody: skipped." && exit 0; }
lua=$(sed -n '1s|^#!.*[ /]\(lua5\.4\)$|\1|p' "$prosody")
[ -n "$lua" ] || { echo "This Prosody does not run in Lua 5.4: skipped." && exit 0; }
"$lua" -e 'require "socket"' 2>/dev/null || { echo "There is no LuaSocket: skipped." && exit 0; }

folder=$(mktemp -d)
server=""
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 1' INT TERM

fail() {
    echo "prosody.sh: $*" >&2
    cat "$folder"/*.log "$folder/answers" >&2 2>/dev/null || true
    exit 1
}

for _ in 1 2 3 4 5 6 7 8; do
    printf '0\tsee you at lunch tomorrow\n0\tthe build is green again\n0\tcan you review my patch\n'
    printf '1\tcheap pills buy now\n1\tyou won a prize click here\n1\tclick to claim your prize\n'
done >"$folder/texts.tsv"
"$NNLUA" scripts/hosts/words.lua "$folder/texts.tsv" "$folder/model" || fail "there is no model"

port=$((20000 + ($$ + 7000) % 20000))
cat >"$folder/prosody.cfg.lua" <<END
run_as_root = true
data_path = "$folder"
pidfile = "$folder/prosody.pid"
log = { info = "$folder/prosody.log" }
plugin_paths = { "$NNLUA_SOURCE/scripts/hosts" }
modules_enabled = { "saslauth", "nnlua_score" }
modules_disabled = { "s2s", "offline" }
nnlua_score_model = "$folder/model"
nnlua_score_refuse = 0.8
c2s_ports = { $port }
c2s_direct_tls_ports = {}
c2s_interfaces = { "127.0.0.1" }
c2s_require_encryption = false
storage = "memory"
VirtualHost "localhost"
authentication = "anonymous"
END
LUA_CPATH="$NNLUA_BUILD/?.so;;" timeout 120 "$prosody" -F --config "$folder/prosody.cfg.lua" >"$folder/out.log" 2>&1 &
server=$!

tries=0
until "$lua" -e "assert(require 'socket'.connect('127.0.0.1', $port))" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || fail "Prosody does not listen"
    kill -0 "$server" 2>/dev/null || fail "Prosody went"
    sleep 0.2
done
"$lua" tests/embed/prosody_client.lua "$port" "the patch builds again" "claim your cheap pills now" "see you tomorrow" \
    >"$folder/answers" 2>&1 || fail "the client failed"
[ "$(tr '\n' ' ' <"$folder/answers")" = "delivered policy-violation delivered " ] || fail "other answers than expected"
scores=$(sed -n 's/.*message from .* scores \([0-9.]*\).*/\1/p' "$folder/prosody.log" | tr '\n' ' ')
echo "$scores" | awk '{ exit !(NF == 3 && $1 < 0.5 && $2 >= 0.8 && $3 < 0.5) }' || fail "the scores are '$scores'"
echo "Prosody scores: $scores"
