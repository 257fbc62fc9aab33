#!/bin/sh
# The example hosts of scripts/hosts/ that answer over HTTP, on loopback: lighttpd (Lua 5.4) and, where a module for
# LuaJIT was built, nginx. Servers that are not installed are left out.
set -eu
cd "$NNLUA_SOURCE/scripts/hosts"

sanitize=$(sed -n 's/^NNLUA_SANITIZE:[A-Z]*=//p' "$NNLUA_BUILD/CMakeCache.txt")
[ -z "$sanitize" ] || { echo "A server does not load a module with sanitizers: skipped." && exit 0; }
command -v curl >/dev/null || { echo "There is no curl: skipped." && exit 0; }

PATH=$PATH:/usr/sbin
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
    echo "web.sh: $*" >&2
    cat "$folder"/*.log >&2 2>/dev/null || true
    exit 1
}

"$NNLUA" -e "local nn = require 'nnlua'
  assert(nn.Sequential{nn.Dense(784, 32, {activation = 'relu'}), nn.Dense(32, 10)}:save('$folder/model'))
  local file = assert(io.open('$folder/picture', 'wb'))
  for i = 0, 783 do file:write(string.char(i % 256)) end file:close()
  package.path = './?.lua;' .. package.path
  local _, text = require 'predict'.open('$folder/model')(assert(io.open('$folder/picture', 'rb')):read('a'))
  assert(io.open('$folder/expected', 'w')):write(text):close()"

ask() { curl --silent --max-time 10 --output "$folder/answer" --write-out '%{http_code}' --data-binary "$1" "http://127.0.0.1:$port/"; }

# Waits for the server, asks it for predictions, several at once too, and for what it must refuse; then it goes.
try() {
    tries=0
    until [ "$(ask "@$folder/picture")" = 200 ]; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || fail "$1 gives no answer"
        sleep 0.2
    done
    for _ in 1 2 3 4 5 6 7 8; do
        [ "$(ask "@$folder/picture")" = 200 ] || fail "$1: a prediction failed"
        cmp "$folder/answer" "$folder/expected" || fail "$1 predicts something else than nnlua does"
    done
    [ "$(ask "too short")" = 400 ] || fail "$1 takes a picture of the wrong size"
    kill "$server"
    wait "$server" 2>/dev/null || true
    server=""
    echo "$1 predicts."
}

port=$((20000 + $$ % 20000))
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
