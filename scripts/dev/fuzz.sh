#!/bin/sh
# Runs random programs, or readers of damaged files, with a build under ASan and UBSan, for an hour or as long as told;
# seeds go on from the clock's, so that every run is of others. A failing program is printed as Lua source, and the exit
# code is 1.
#
#   sh scripts/dev/fuzz.sh [SECONDS [OPTIONS OF tests/fuzz/programs/run.lua...]]
#   sh scripts/dev/fuzz.sh readers [SECONDS [FILES TO DAMAGE...]]      besides those that the test makes itself
set -eu
cd "$(dirname "$0")/../.."

readers=no
if [ "${1:-}" = readers ]; then
    readers=yes
    shift
fi
seconds=${1:-3600}
[ $# = 0 ] || shift

sh scripts/setup.sh tests
sh scripts/dev/build.sh build-asan --tests -DCMAKE_BUILD_TYPE=Debug -DNNLUA_SANITIZE=address,undefined
journal=build-asan/fuzz.seed

if [ $readers = yes ]; then
    echo "Damaged files for $seconds s."
    ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
        NNLUA_FUZZ_SECONDS=$seconds NNLUA_FUZZ_JOURNAL=$journal build-asan/tests/test_fuzz_files "$@" && exit
    echo "The last was: $(cat "$journal"); again: NNLUA_FUZZ_SECONDS=1 NNLUA_FUZZ_SEED=N build-asan/tests/test_fuzz_files"
    exit 1
fi

echo "Programs from seed $(($(date +%s) * 1000)) on, for $seconds s."
ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
    build-asan/nnlua tests/fuzz/programs/run.lua --seconds "$seconds" --seed "$(($(date +%s) * 1000))" \
    --journal "$journal" "$@" && exit
echo "The last seed was $(cat "$journal"); again: build-asan/nnlua tests/fuzz/programs/run.lua --programs 1 --trace --seed N"
exit 1
