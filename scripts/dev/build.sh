#!/bin/sh
# Builds nnlua with one line of progress; what the compiler says is in FOLDER/build.log, and shown when it fails.
#
#   sh scripts/dev/build.sh FOLDER [--tests] [OPTIONS FOR cmake...]      --tests: the C tests too
set -u
cd "$(dirname "$0")/../.." || exit 1

folder=$1
shift
targets=all
if [ "${1:-}" = --tests ]; then
    targets="all tests"
    shift
fi

jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
log=$folder/build.log

# The words after --target are separate.
# shellcheck disable=SC2086
build() {
    cmake -S . -B "$folder" "$@" && cmake --build "$folder" --parallel "$jobs" --target $targets
}

# Follows the percentages of the log on a terminal, until the build is over.
show_progress() {
    while [ ! -e "$folder/build.status" ]; do
        printf '\rBuilding in %s: %s ' "$folder" "$(grep -o '^\[ *[0-9]*%\]' "$log" | tail -n 1)"
        sleep 0.2
    done
    printf '\r'
}

mkdir -p "$folder" || exit 1
rm -f "$folder/build.status"
: >"$log"
start=$(date +%s)
{
    build "$@" >"$log" 2>&1
    echo $? >"$folder/build.status"
} </dev/null &
[ -t 1 ] && show_progress
wait

status=$(cat "$folder/build.status")
rm -f "$folder/build.status"
if [ "$status" != 0 ]; then
    cat "$log" >&2
    echo "The build in $folder failed (see above, or $folder/build.log)." >&2
    exit 1
fi
echo "Built in $folder ($(($(date +%s) - start)) s)."
