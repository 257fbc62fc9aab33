#!/bin/sh
# The example of scripts/hosts/ for Prosody on loopback: a client sends itself messages, Prosody logs the score of each
# and sends back the one that scores high. Left out without Prosody for Lua 5.4.
. "$NNLUA_SOURCE/tests/embed/hosts/server.sh"
needs prosody
prosody=$(command -v prosody)
lua=$(sed -n '1s|^#!.*[ /]\(lua5\.4\)$|\1|p' "$prosody")
[ -n "$lua" ] || skip "This Prosody does not run in Lua 5.4"
"$lua" -e 'require "socket"' 2>/dev/null || skip "There is no LuaSocket"

train_spam
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

until_up "$lua" -e "assert(require 'socket'.connect('127.0.0.1', $port))"
"$lua" tests/embed/prosody_client.lua "$port" "the patch builds again" "claim your cheap pills now" "see you tomorrow" \
    >"$folder/answers.log" 2>&1 || fail "the client failed"
[ "$(tr '\n' ' ' <"$folder/answers.log")" = "delivered policy-violation delivered " ] || fail "other answers than expected"
scores=$(sed -n 's/.*message from .* scores \([0-9.]*\).*/\1/p' "$folder/prosody.log" | tr '\n' ' ')
echo "$scores" | awk '{ exit !(NF == 3 && $1 < 0.5 && $2 >= 0.8 && $3 < 0.5) }' || fail "the scores are '$scores'"
echo "Prosody scores: $scores"
