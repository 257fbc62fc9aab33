#!/bin/sh
# The examples of scripts/hosts/ for rspamd on loopback: of two messages the one like the spam that the model learned gets
# the symbol and its score; and the networks of rspamd's neural plugin are nnlua's where it says so. Left out without rspamd or a module for LuaJIT.
. "$NNLUA_SOURCE/tests/embed/hosts/server.sh"
needs rspamd curl
needs_luajit_module

LUA_CPATH="$NNLUA_BUILD/luajit/?.so;;" timeout 60 rspamadm lua -b -s tests/embed/rspamd_neural.lua \
    >"$folder/neural.log" 2>&1 </dev/null || fail "rspamadm failed"
grep -qx "The neural plugin's networks are nnlua's\." "$folder/neural.log" || fail "the neural plugin does not use nnlua"

train_spam

# The real list of top-level domains takes rspamd many seconds to compile.
echo org >"$folder/domains"
cat >"$folder/rspamd.conf" <<END
options {
    pidfile = "$folder/rspamd.pid"; tempdir = "$folder"; cache_file = "$folder/cache"; hs_cache_dir = "$folder";
    url_tld = "$folder/domains"; disable_hyperscan = true; filters = ""; dns { nameserver = ["127.0.0.1"]; }
}
logging { type = "file"; filename = "$folder/rspamd.log"; level = "info"; }
worker "normal" { bind_socket = "127.0.0.1:$port"; count = 2; }
actions { reject = 15; add_header = 6; }
lua = "$NNLUA_SOURCE/scripts/hosts/rspamd.lua";
nnlua { model = "$folder/model"; module = "$NNLUA_BUILD/luajit"; }
END
# -i lets it run as root.
timeout 120 rspamd -f -i -c "$folder/rspamd.conf" >"$folder/out.log" 2>&1 &
server=$!

until_up curl --silent --max-time 5 --output /dev/null "http://127.0.0.1:$port/ping"

# check SUBJECT TEXT: what rspamd says about such a message, in folder/answer.
check() {
    printf 'From: a@example.org\r\nSubject: %s\r\nContent-Type: text/plain\r\n\r\n%s\r\n' "$1" "$2" |
        curl --silent --max-time 20 --output "$folder/answer.log" --data-binary @- "http://127.0.0.1:$port/checkv2" ||
        fail "no answer"
}
for _ in 1 2 3 4; do
    check "a prize" "claim your cheap pills now"
    grep -q '"action":"add header","symbols":{"NNLUA_SPAM":{"name":"NNLUA_SPAM","score":[67]\.' "$folder/answer.log" ||
        fail "spam passes"
    check "lunch" "the build is green, see you"
    grep -q '"score":0\.0,.*"action":"no action","symbols":{}' "$folder/answer.log" || fail "a friendly message is spam"
done
[ "$(grep -c 'nnlua: probability' "$folder/rspamd.log")" = 8 ] || fail "not every message was scored once"
echo "rspamd scores."
