#!/bin/sh
# rspamd's neural plugin with rspamd_kann and with nnlua (kann.lua), in rspamd's own LuaJIT: medians of some rounds.
#
#   sh scripts/dev/bench.sh kann [ROUNDS]      needs rspamd and a module for LuaJIT:
#                                              sh scripts/dev/build.sh build '-DNNLUA_LUA=5.4;luajit'
set -eu
rounds=${1:-3}
NNLUA_ROOT=$(cd "$(dirname "$0")/../../.." && pwd)
program=${NNLUA:-$NNLUA_ROOT/build/nnlua}
NNLUA_MODULE=$(dirname "$program")/luajit
export NNLUA_ROOT NNLUA_MODULE

command -v rspamadm >/dev/null || { echo "bench.sh kann: there is no rspamadm; install rspamd" >&2 && exit 1; }
[ -e "$NNLUA_MODULE/nnlua.so" ] || { echo "bench.sh kann: there is no module for LuaJIT in $NNLUA_MODULE" >&2 && exit 1; }

round=1
while [ "$round" -le "$rounds" ]; do
    rspamadm lua -b -s "$NNLUA_ROOT/scripts/dev/bench/kann.lua" </dev/null
    round=$((round + 1))
done | sort -k1,1 -k2,2 -k3,3g | awk '
    { key = $1 " " $2; value[key, ++count[key]] = $3; if ($1 == "kann" && !($2 in seen)) { seen[$2] = 1; order[++n] = $2 } }
    function median(key) { return value[key, int((count[key] + 1) / 2)] }
    END {
        printf "%-30s %12s %12s %8s\n", "", "rspamd_kann", "nnlua", "ratio"
        for (i = 1; i <= n; i++) {
            a = median("kann " order[i]); b = median("nnlua " order[i])
            printf "%-30s %12.6g %12.6g %8.2f\n", order[i], a, b, b / a
        }
    }'
