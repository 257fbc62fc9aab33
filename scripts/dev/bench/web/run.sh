#!/bin/sh
# Predictions of the network 784-512-512-10 over HTTP, a picture a request, under wrk on loopback: lighttpd and nginx with
# nnlua, and a server in Python with PyTorch, each with two worker processes of one thread.
#
#   sh scripts/dev/bench.sh web [SECONDS] [SERVER]      lighttpd, nginx or torch; nginx needs a module for LuaJIT:
#                                                       sh scripts/dev/build.sh build '-DNNLUA_LUA=5.4;luajit'
set -eu
seconds=${1:-60}
only=${2:-}
root=$(cd "$(dirname "$0")/../../../.." && pwd)
bench=$root/scripts/dev/bench/web
program=${NNLUA:-$root/build/nnlua}
build=$(dirname "$program")
hosts=$root/scripts/hosts
workers=2
connections=16
port=8765
PATH=$PATH:/usr/sbin

for tool in wrk pgrep; do
    command -v $tool >/dev/null || { echo "bench.sh web: $tool is missing" >&2 && exit 1; }
done

folder=$(mktemp -d)
server=""
stop() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    server=""
}
trap 'stop; rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM

"$program" -e "local nn = require 'nnlua' nn.manual_seed(1)
  local model = nn.Sequential { nn.Dense(784, 512, {activation = 'relu'}), nn.Dense(512, 512, {activation = 'relu'}),
    nn.Dense(512, 10) }
  assert(model:save('$folder/model'))
  local file = assert(io.open('$folder/picture', 'wb'))
  for i = 0, 783 do file:write(string.char(i % 256)) end
  file:close()"
export NNLUA_PICTURE="$folder/picture"

# Kilobytes of memory that the workers have, each.
memory() {
    for pid in $(pgrep -P "$server"); do awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"; done | tr '\n' ' '
}

load() { wrk -t1 -c$connections -d"$1s" -s "$bench/post.lua" "http://127.0.0.1:$port/" | grep '^measured'; }

measure() {
    tries=0
    until curl --silent --fail --output /dev/null --data-binary "@$folder/picture" "http://127.0.0.1:$port/"; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { echo "bench.sh web: $1 does not answer" >&2 && cat "$folder"/*.log >&2 && exit 1; }
        sleep 0.2
    done
    load 5 >/dev/null
    before=$(memory)
    load "$seconds" >"$folder/measured"
    after=$(memory)
    awk -v name="$1" -v before="$before" -v after="$after" '{
        printf "%-10s %9.0f %9.2f %9.2f %8d   %s-> %s\n", name, $2 / $3, $4 / 1000, $5 / 1000, $6, before, after }' "$folder/measured"
    stop
    port=$((port + 1)) # the one before may not be free yet
}

wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

printf '%-10s %9s %9s %9s %8s   %s\n' "" "requests/s" "p50 ms" "p99 ms" "failures" "KB of each worker, before and after"
if wanted lighttpd; then
    NNLUA_HOSTS=$hosts NNLUA_PORT=$port NNLUA_LOG=$folder/lighttpd.log NNLUA_MODEL=$folder/model \
        LUA_CPATH="$build/?.so;;" setsid lighttpd -D -f "$hosts/lighttpd.conf" >"$folder/out.log" 2>&1 &
    server=$!
    measure lighttpd
fi
if wanted nginx; then
    [ -e "$build/luajit/nnlua.so" ] || { echo "bench.sh web: there is no module for LuaJIT in $build" >&2 && exit 1; }
    sed -e "s|FOLDER|$folder|" -e "s|HOSTS|$hosts|" -e "s|MODULE|$build/luajit|" -e "s|MODEL|$folder/model|" \
        -e "s|PORT|$port|" "$hosts/nginx.conf" >"$folder/nginx.conf"
    nginx -c "$folder/nginx.conf" >"$folder/out.log" 2>&1 &
    server=$!
    measure nginx
fi
if wanted torch; then
    openmp=$(find /usr/lib -path '*openblas-openmp*' -name 'libopenblas.so.0' 2>/dev/null | head -n 1)
    LD_LIBRARY_PATH=$(dirname "$openmp") OMP_NUM_THREADS=1 /usr/bin/python3 "$bench/server.py" $port $workers >"$folder/out.log" 2>&1 &
    server=$!
    measure torch
fi
