#!/bin/sh
# The example hosts of scripts/hosts/ that answer over HTTP, on loopback: lighttpd (Lua 5.4) and, where a module for
# LuaJIT was built, nginx. Servers that are not installed are left out.
. "$NNLUA_SOURCE/tests/embed/hosts/server.sh"
needs curl
cd scripts/hosts

"$NNLUA" -e "local nn = require 'nnlua'
  assert(nn.Sequential{nn.Dense(784, 32, {activation = 'relu'}), nn.Dense(32, 10)}:save('$folder/model'))
  local file = assert(io.open('$folder/picture', 'wb'))
  for i = 0, 783 do file:write(string.char(i % 256)) end file:close()
  package.path = './?.lua;' .. package.path
  local _, text = require 'predict'.open('$folder/model')(assert(io.open('$folder/picture', 'rb')):read('a'))
  assert(io.open('$folder/expected', 'w')):write(text):close()"

# ask ANSWER BODY: the status, and the answer in a file.
ask() {
    curl --silent --max-time 10 --output "$folder/$1" --write-out '%{http_code}' --data-binary "$2" "http://127.0.0.1:$port/"
}

answers() { [ "$(ask answer "@$folder/picture")" = 200 ]; }

# Eight clients at once, each with four requests, one after the other.
clients() {
    for client in 1 2 3 4 5 6 7 8; do
        (for i in 1 2 3 4; do ask "answer.$client.$i" "@$folder/picture" >"$folder/status.$client.$i"; done) &
        pids="${pids:-} $!"
    done
    for pid in $pids; do wait "$pid" || fail "$1: a client failed"; done
    pids=""
}

# Waits for the server, asks it for predictions, several at once, and for what it must refuse; then it goes.
try() {
    until_up answers
    clients "$1"
    for answer in "$folder"/answer.*; do
        cmp "$answer" "$folder/expected" || fail "$1 predicts something else than nnlua does"
    done
    [ "$(cat "$folder"/status.* | sed 's/200//g')" = "" ] || fail "$1: a prediction failed"
    [ "$(find "$folder" -name 'answer.*' | wc -l)" = 32 ] || fail "$1 did not answer all"
    rm "$folder"/answer.* "$folder"/status.*
    [ "$(ask answer "too short")" = 400 ] || fail "$1 takes a picture of the wrong size"
    stop_server
    echo "$1 predicts."
}

# lighttpd signals its whole process group when it goes, so it gets one of its own.
if command -v lighttpd >/dev/null && [ -e /usr/lib/lighttpd/mod_magnet.so ]; then
    NNLUA_HOSTS=$(pwd) NNLUA_PORT=$port NNLUA_LOG=$folder/lighttpd.log NNLUA_MODEL=$folder/model \
        LUA_CPATH="$NNLUA_BUILD/?.so;;" setsid lighttpd -D -f lighttpd.conf >"$folder/out.log" 2>&1 &
    server=$!
    try lighttpd
else
    echo "There is no lighttpd with mod_magnet: left out."
fi

port=$((port + 1))
if command -v nginx >/dev/null && [ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] && [ -e "$NNLUA_BUILD/luajit/nnlua.so" ]; then
    sed -e "s|FOLDER|$folder|" -e "s|HOSTS|$(pwd)|" -e "s|MODULE|$NNLUA_BUILD/luajit|" -e "s|MODEL|$folder/model|" \
        -e "s|PORT|$port|" nginx.conf >"$folder/nginx.conf"
    nginx -c "$folder/nginx.conf" >"$folder/out.log" 2>&1 &
    server=$!
    try nginx
else
    echo "There is no nginx with lua-nginx-module, or no module for LuaJIT here: left out."
fi
