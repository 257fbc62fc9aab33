#!/bin/sh
# rspamd's neural plugin on loopback, with nnlua in place of rspamd_kann: the workers collect what rules say of messages,
# the controller trains a network with it and puts it into Redis, and the workers score by it. Left out without rspamd,
# Redis or a module for LuaJIT.
. "$NNLUA_SOURCE/tests/embed/hosts/server.sh"
needs rspamd curl redis-server redis-cli
needs_luajit_module
plugin=/usr/share/rspamd/plugins/neural.lua
[ -e $plugin ] || skip "There is no neural plugin"

redis=$((port + 1))
redis-server --port $redis --bind 127.0.0.1 --save "" --dir "$folder" >"$folder/redis.log" 2>&1 &
redis_pid=$!
trap 'kill $redis_pid 2>/dev/null; finish' EXIT

echo org >"$folder/domains"
# Rules: a word w7 in the subject is symbol BAD7, w23 is GOOD23.
cat >"$folder/rules.lua" <<'END'
for i = 1, 30 do
  rspamd_config:register_symbol {
    name = (i <= 15 and "BAD" or "GOOD") .. i, type = "normal", score = i <= 15 and 2.0 or -1.0,
    callback = function(task)
      if (" " .. (task:get_subject() or "") .. " "):find(" w" .. i .. " ", 1, true) then return true, 1.0 end
    end,
  }
end
END
cat >"$folder/rspamd.conf" <<END
options {
    pidfile = "$folder/rspamd.pid"; tempdir = "$folder"; cache_file = "$folder/cache"; hs_cache_dir = "$folder";
    url_tld = "$folder/domains"; disable_hyperscan = true; filters = ""; local_addrs = [];
    control_socket = "$folder/control mode=0600"; dns { nameserver = ["127.0.0.1"]; }
}
logging { type = "file"; filename = "$folder/rspamd.log"; level = "info"; }
worker "normal" { bind_socket = "127.0.0.1:$port"; count = 1; }
worker "controller" { bind_socket = "127.0.0.1:$((port + 2))"; count = 1; secure_ip = "127.0.0.1"; }
actions { reject = 15; add_header = 6; }
redis { servers = "127.0.0.1:$redis"; }
lua = "$NNLUA_SOURCE/scripts/hosts/rspamd_neural.lua";
lua = "$folder/rules.lua";
nnlua { module = "$NNLUA_BUILD/luajit"; }
modules { path = "$plugin"; }
neural {
    enabled = true; allow_local = true; servers = "127.0.0.1:$redis";
    rules { default {
        train { max_trains = 20; max_usages = 2; spam_score = 6; ham_score = -1; }
        symbol_spam = "NEURAL_SPAM"; symbol_ham = "NEURAL_HAM"; watch_interval = 1;
    } }
}
group "neural" { symbols { "NEURAL_SPAM" { weight = 3.0; } "NEURAL_HAM" { weight = -3.0; } } }
END
# -i lets it run as root.
timeout 120 rspamd -f -i -c "$folder/rspamd.conf" >"$folder/out.log" 2>&1 &
server=$!
until_up curl --silent --max-time 5 --output /dev/null "http://127.0.0.1:$port/ping"

# send WORDS: what rspamd says about a message with that subject, in folder/answer.log.
send() {
    count=$((${count:-0} + 1))
    printf 'From: a@example.org\r\nMessage-Id: <%s@x>\r\nSubject: %s\r\nContent-Type: text/plain\r\n\r\n%s\r\n' $count "$1" $count |
        curl --silent --max-time 20 --output "$folder/answer.log" --data-binary @- "http://127.0.0.1:$port/checkv2" ||
        fail "no answer"
}
i=0
while [ $i -lt 25 ]; do
    send "w1 w$((i % 7 + 2)) w$((i % 5 + 9)) w15 w14"
    send "w16 w$((i % 7 + 17)) w$((i % 5 + 24))"
    i=$((i + 1))
done
scored() {
    send "w3 w4 w10 w1" && grep -q '"NEURAL_SPAM":' "$folder/answer.log"
}
until_up scored
send "w18 w25 w16"
grep -q '"NEURAL_HAM":' "$folder/answer.log" || fail "a friendly message is not known as one"
key=$(redis-cli -p $redis keys 'rn_default_*_1' | head -n 1)
redis-cli -p $redis hget "$key" ann >"$folder/network"
[ -s "$folder/network" ] || fail "there is no network in Redis"
grep -q "learned from" "$folder/rspamd.log" || fail "the controller has not trained"
echo "rspamd's neural plugin learns and scores by nnlua."
