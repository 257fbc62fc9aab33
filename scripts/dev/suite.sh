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
# (such as "valgrind -q"), as many at a time as there are processors, or NNLUA_TEST_JOBS. A shell script is one test;
# the others count theirs in a last line of the same form.
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

jobs=${NNLUA_TEST_JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)}

passed=0
failed=0
count=0
workers=
work=$(mktemp -d)
# shellcheck disable=SC2086
trap 'kill $workers 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

wanted() {
    [ -n "$patterns" ] || return 0
    for pattern in $patterns; do
        case $1 in *"$pattern"*) return 0 ;; esac
    done
    return 1
}

# add FILE COMMAND...: one more test. Paths are words: none of ours has a blank.
add() {
    wanted "$1" || return 0
    count=$((count + 1))
    echo "$1" >"$work/$count.file"
    shift
    echo "$*" >"$work/$count.command"
}

# Takes one test after the other that no other worker has taken.
worker() {
    for i in $(seq "$count"); do
        mkdir "$work/$i.taken" 2>/dev/null || continue
        # shellcheck disable=SC2046,SC2086
        timeout "$limit" $prefix $(cat "$work/$i.command") >"$work/$i.output" 2>&1 </dev/null
        echo $? >"$work/$i.ended"
        mv "$work/$i.ended" "$work/$i.status"
    done
}

works() {
    for pid in $workers; do kill -0 "$pid" 2>/dev/null && return 0; done
    return 1
}

# Waits for test number $1; where no worker is left that could have ended it, it counts as one that crashed.
await() {
    while [ ! -e "$work/$1.status" ]; do
        works || [ -e "$work/$1.status" ] || echo 125 >"$work/$1.status"
        sleep 0.05
    done
    status=$(cat "$work/$1.status")
}

# The counts of a test's last such line. Without one, or where it hides a failure, the exit code ($1) is a test too.
tally() {
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

# One line when all is well, all of the output when not.
report() {
    output=$work/$1.output
    file=$(cat "$work/$1.file")
    await "$1"
    tally "$status"
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

add_other_lua() {
    LUA_CPATH="$NNLUA_TEST_MODULE/?.so;;"
    export LUA_CPATH
    for file in tests/lua/*_spec.lua; do
        add "$file" "$NNLUA_TEST_LUA" tests/run_specs.lua "$file"
    done
}

add_all() {
    # As many programs as take a release build some five seconds; scripts/dev/fuzz.sh runs more, with other seeds.
    add tests/fuzz/programs/run.lua "$NNLUA" tests/fuzz/programs/run.lua --programs "${NNLUA_TEST_PROGRAMS:-2500}"
    for file in tests/c/test_*.c; do
        [ -e "$file" ] && add "$file" "$NNLUA_BUILD/tests/$(basename "$file" .c)"
    done
    for file in tests/embed/hosts/*.c; do
        host=$NNLUA_BUILD/tests/host_$(basename "$file" .c)
        [ -x "$host" ] && add "$file" "$host"
    done
    for file in $(find tests/lua tests/cli tests/embed -name '*_spec.lua' 2>/dev/null | sort); do
        add "$file" "$NNLUA" tests/run_specs.lua "$file"
    done
    for file in tests/cli/*.sh tests/embed/*.sh; do
        [ -e "$file" ] && add "$file" sh "$file"
    done
}

if [ -n "${NNLUA_TEST_LUA:-}" ]; then add_other_lua; else add_all; fi
for _ in $(seq "$jobs"); do
    worker &
    workers="$workers $!"
done
for i in $(seq "$count"); do report "$i"; done
wait

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
