#!/bin/sh
# Runs the tests with a build that is there: tests/c, tests/lua, tests/cli, tests/embed and, for some seconds and with
# the same seeds each time, tests/fuzz. The last line is "N passed, N failed"; exit code 1 if any failed, or none ran.
#
#   sh scripts/dev/suite.sh FOLDER [PATTERN...]      only test files whose path contains one of the patterns
#
# NNLUA_TEST_LUA names another Lua, such as luajit, that runs the specs of tests/lua alone, by the module of
# NNLUA_TEST_MODULE, a folder.
#
# Each file runs in a process of its own, so that a crash costs one file, under NNLUA_TEST_PREFIX if that is set
# (such as "valgrind -q"). A shell script is one test; the others count theirs in a last line of the same form.
# Tests find the program in NNLUA, the folder of the build in NNLUA_BUILD, and the source in NNLUA_SOURCE.
set -u
cd "$(dirname "$0")/../.." || exit 1

NNLUA_SOURCE=$(pwd)
NNLUA_BUILD=$(cd "${1:?the folder of a build}" && pwd) || exit 1
NNLUA=$NNLUA_BUILD/nnlua
export NNLUA NNLUA_BUILD NNLUA_SOURCE
shift
patterns=$*
prefix=${NNLUA_TEST_PREFIX:-}
limit=${NNLUA_TEST_SECONDS:-600}

passed=0
failed=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT

wanted() {
    [ -n "$patterns" ] || return 0
    for pattern in $patterns; do
        case $1 in *"$pattern"*) return 0 ;; esac
    done
    return 1
}

# The counts of a test's last such line. Without one, or where it hides a failure, the exit code ($1) is a test too.
count() {
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$output" | tail -n 1)
    good=${line%% passed*}
    bad=${line##*passed, }
    bad=${bad%% failed*}
    if [ -z "$line" ]; then
        good=$(($1 == 0)) bad=$(($1 != 0))
    elif [ "$1" != 0 ] && [ "$bad" = 0 ]; then
        bad=1
    fi
}

# run FILE COMMAND...: one line when all is well, all of the output when not.
run() {
    file=$1
    shift
    wanted "$file" || return 0
    # shellcheck disable=SC2086
    timeout "$limit" $prefix "$@" >"$output" 2>&1 </dev/null
    status=$?
    count $status
    passed=$((passed + good))
    failed=$((failed + bad))
    if [ "$bad" = 0 ]; then
        echo "ok    $file ($good)"
        return
    fi
    cat "$output"
    case $status in
    0 | 1) why="" ;;
    124) why=", stopped after $limit s" ;;
    *) why=", exit code $status" ;;
    esac
    echo "FAIL  $file ($bad of $((good + bad))$why)"
}

run_other_lua() {
    LUA_CPATH="$NNLUA_TEST_MODULE/?.so;;"
    export LUA_CPATH
    for file in tests/lua/*_spec.lua; do
        run "$file" "$NNLUA_TEST_LUA" tests/run_specs.lua "$file"
    done
}

run_all() {
    for file in tests/c/test_*.c; do
        [ -e "$file" ] && run "$file" "$NNLUA_BUILD/tests/$(basename "$file" .c)"
    done
    for file in tests/embed/hosts/*.c; do
        host=$NNLUA_BUILD/tests/host_$(basename "$file" .c)
        [ -x "$host" ] && run "$file" "$host"
    done
    for file in $(find tests/lua tests/cli tests/embed -name '*_spec.lua' 2>/dev/null | sort); do
        run "$file" "$NNLUA" tests/run_specs.lua "$file"
    done
    for file in tests/cli/*.sh tests/embed/*.sh; do
        [ -e "$file" ] && run "$file" sh "$file"
    done
    # As many programs as take a release build some five seconds; scripts/dev/fuzz.sh runs more, with other seeds.
    run tests/fuzz/programs/run.lua "$NNLUA" tests/fuzz/programs/run.lua --programs "${NNLUA_TEST_PROGRAMS:-2500}"
}

if [ -n "${NNLUA_TEST_LUA:-}" ]; then run_other_lua; else run_all; fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
