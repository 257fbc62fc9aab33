#!/bin/sh
# server.sh: what the tests of real hosts (tests/embed/*.sh) share; each sources it first. A folder for the test's files,
# a server that is stopped at the end, and ways to leave out what cannot be tested here.
set -eu
cd "$NNLUA_SOURCE"
PATH=$PATH:/usr/sbin

skip() {
    echo "$*: skipped."
    exit 0
}

# needs PROGRAM...
needs() {
    for program in "$@"; do command -v "$program" >/dev/null || skip "There is no $program"; done
}

needs_luajit_module() { [ -e "$NNLUA_BUILD/luajit/nnlua.so" ] || skip "There is no module for LuaJIT here"; }

[ -z "$(sed -n 's/^NNLUA_SANITIZE:[A-Z]*=//p' "$NNLUA_BUILD/CMakeCache.txt")" ] ||
    skip "A host does not load a module with sanitizers"

folder=$(mktemp -d)
server=""
# shellcheck disable=SC2034 # for those that source this
port=$((20000 + $$ % 20000))

stop_server() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    server=""
}

finish() {
    stop_server
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 1' INT TERM

# Says why, and what the server and its clients wrote.
fail() {
    echo "$(basename "$0"): $*" >&2
    cat "$folder"/*.log >&2 2>/dev/null || true
    exit 1
}

# until_up COMMAND...: waits until the command succeeds, for the server to come up.
until_up() {
    tries=0
    until "$@" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "the server does not answer"
        [ -z "$server" ] || kill -0 "$server" 2>/dev/null || fail "the server went"
        sleep 0.2
    done
}

# train_words TEXTS: a model of scripts/hosts/words.lua, in folder/model, of lines "1<Tab>text" and "0<Tab>text".
train_words() {
    for _ in 1 2 3 4 5 6 7 8; do printf '%b' "$1"; done >"$folder/texts.tsv"
    "$NNLUA" scripts/hosts/words.lua "$folder/texts.tsv" "$folder/model" >"$folder/training.log" 2>&1 ||
        fail "there is no model"
}

train_spam() {
    train_words '0\tsee you at lunch tomorrow\n0\tthe build is green again\n0\tcan you review my patch
1\tcheap pills buy now\n1\tyou won a prize click here\n1\tclick to claim your prize\n'
}
