#!/bin/sh
# The example of scripts/hosts/ for rspamd on loopback: of two messages the one like the spam that the model learned gets
# the symbol and its score. Left out without rspamd or a module for LuaJIT.
set -eu
cd "$NNLUA_SOURCE"

sanitize=$(sed -n 's/^NNLUA_SANITIZE:[A-Z]*=//p' "$NNLUA_BUILD/CMakeCache.txt")
[ -z "$sanitize" ] || { echo "rspamd does not load a module with sanitizers: skipped." && exit 0; }
command -v curl >/dev/null || { echo "There is no curl: skipped." && exit 0; }
PATH=$PATH:/usr/sbin
command -v rspamd >/dev/null || { echo "There is no rspamd: skipped." && exit 0; }
[ -e "$NNLUA_BUILD/luajit/nnlua.so" ] || { echo "There is no module for LuaJIT here: skipped." && exit 0; }

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
    echo "rspamd.sh: $*" >&2
    cat "$folder"/*.log "$folder/answer" >&2 2>/dev/null || true
    exit 1
}

for _ in 1 2 3 4 5 6 7 8; do
    printf '0\tsee you at lunch tomorrow\n0\tthe build is green again\n0\tcan you review my patch\n'
    printf '1\tcheap pills buy now\n1\tyou won a prize click here\n1\tclick to claim your prize\n'
done >"$folder/texts.tsv"
"$NNLUA" scripts/hosts/words.lua "$folder/texts.tsv" "$folder/model" || fail "there is no model"

# The real list of top-level domains takes rspamd many seconds to compile.
echo org >"$folder/domains"
port=$((20000 + ($$ + 14000) % 20000))
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

tries=0
until curl --silent --max-time 5 --output /dev/null "http://127.0.0.1:$port/ping"; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || fail "rspamd does not listen"
    kill -0 "$server" 2>/dev/null || fail "rspamd went"
    sleep 0.2
done

# check SUBJECT TEXT: what rspamd says about such a message, in folder/answer.
check() {
    printf 'From: a@example.org\r\nSubject: %s\r\nContent-Type: text/plain\r\n\r\n%s\r\n' "$1" "$2" |
        curl --silent --max-time 20 --output "$folder/answer" --data-binary @- "http://127.0.0.1:$port/checkv2" ||
        fail "no answer"
}
for _ in 1 2 3 4; do
    check "a prize" "claim your cheap pills now"
    grep -q '"action":"add header","symbols":{"NNLUA_SPAM":{"name":"NNLUA_SPAM","score":[67]\.' "$folder/answer" ||
        fail "spam passes"
    check "lunch" "the build is green, see you"
    grep -q '"score":0\.0,.*"action":"no action","symbols":{}' "$folder/answer" || fail "a friendly message is spam"
done
[ "$(grep -c 'nnlua: probability' "$folder/rspamd.log")" = 8 ] || fail "not every message was scored once"
echo "rspamd scores."
