#!/bin/sh
# Runs random programs with a build under ASan and UBSan, for an hour or as long as told; seeds go on from the clock's,
# so that every run is of other programs. A failing program is printed as Lua source, and the exit code is 1.
#
#   sh scripts/dev/fuzz.sh [SECONDS [OPTIONS OF tests/fuzz/programs/run.lua...]]
set -eu
cd "$(dirname "$0")/../.."

seconds=${1:-3600}
[ $# = 0 ] || shift

sh scripts/setup.sh tests
sh scripts/dev/build.sh build-asan -DCMAKE_BUILD_TYPE=Debug -DNNLUA_SANITIZE=address,undefined
journal=build-asan/fuzz.seed
echo "Programs from seed $(($(date +%s) * 1000)) on, for $seconds s."
ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
    build-asan/nnlua tests/fuzz/programs/run.lua --seconds "$seconds" --seed "$(($(date +%s) * 1000))" \
    --journal "$journal" "$@" && exit
echo "The last seed was $(cat "$journal"); again: build-asan/nnlua tests/fuzz/programs/run.lua --programs 1 --trace --seed N"
exit 1
