#!/bin/sh
# Finds what is missing for building nnlua, says what it is for, and installs it with apt-get. With nothing missing it
# is silent and needs no network.
#
#   sh scripts/setup.sh [tests] [checks]      also what scripts/test.sh needs, or scripts/dev/check.sh
set -u

missing=""

# need PACKAGES WHY COMMAND...: the packages are missing unless the command succeeds.
need() {
    packages=$1 why=$2
    shift 2
    "$@" >/dev/null 2>&1 && return
    [ -n "$missing" ] || echo "Missing:"
    printf '  %-24s %s\n' "$packages" "$why"
    missing="$missing $packages"
}

has_any() {
    for program in "$@"; do
        command -v "$program" && return 0
    done
    return 1
}

# has_library PACKAGE HEADER: known to pkg-config, or its header lies in a usual place.
has_library() {
    pkg-config --exists "$1" && return 0
    for folder in /usr/include /usr/include/* /usr/include/*/* /usr/local/include /usr/local/include/*; do
        [ -e "$folder/$2" ] && return 0
    done
    return 1
}

# has_lua NAME: its program, and its headers, as pkg-config knows them.
has_lua() {
    command -v "$1" && pkg-config --exists "$1"
}

find_missing() {
    need "gcc libc6-dev" "a C compiler" has_any "${CC:-cc}" gcc clang
    need cmake "describes the build" has_any cmake
    need make "runs the build" has_any make
    need pkg-config "finds libraries" has_any pkg-config
    need liblua5.4-dev "Lua 5.4, part of the program nnlua" has_library lua5.4 lua5.4/lauxlib.h
    need libopenblas-dev "matrix products" has_library openblas cblas.h
    need lua5.4 "stock Lua, which can load nnlua too" has_any lua5.4
    for group in "$@"; do
        case $group in
        tests)
            need zlib1g-dev "reads compressed data files" has_library zlib zlib.h
            need libsndfile1-dev "sound files" has_library sndfile sndfile.h
            need gzip "compresses what the tests read" has_any gzip
            need libpng-dev "PNG pictures" has_library libpng png.h
            need libjpeg-dev "JPEG pictures" has_library libjpeg jpeglib.h
            need tmux "a terminal for the tests of the prompt" has_any tmux
            need "lighttpd lighttpd-modules-lua curl" "hosts an example" test -e /usr/lib/lighttpd/mod_magnet.so
            need lua-busted "runs the tests that are written in Lua" lua5.4 -e 'require "busted"'
            need gnuplot-nox "draws plots into files" has_any gnuplot
            need lua-argparse "reads the options of scripts" lua5.4 -e 'require "argparse"'
            ;;
        checks)
            need binutils "lists symbols" has_any objdump
            need clang "the second compiler" has_any clang
            need clang-format "checks the format of C" has_any clang-format
            need cppcheck "looks for mistakes in C" has_any cppcheck
            need lua-check "looks for mistakes in Lua" has_any luacheck
            need "lua5.1 liblua5.1-0-dev" "the oldest Lua" has_lua lua5.1
            need "lua5.3 liblua5.3-dev" "Lua 5.3" has_lua lua5.3
            need "luajit libluajit-5.1-dev" "LuaJIT" has_lua luajit
            need valgrind "looks for wrong uses of memory" has_any valgrind
            ;;
        *)
            echo "setup.sh: no such group: $group (tests or checks)" >&2
            exit 2
            ;;
        esac
    done
}

apt() {
    if [ "$(id -u)" = 0 ]; then
        DEBIAN_FRONTEND=noninteractive apt-get "$@"
    elif [ -t 0 ]; then
        sudo DEBIAN_FRONTEND=noninteractive apt-get "$@"
    else
        sudo -n DEBIAN_FRONTEND=noninteractive apt-get "$@"
    fi
}

# A machine that was just set up knows no packages yet, so a failure is followed by an update and a second try.
install() {
    apt install -y -q --no-install-recommends "$@" || { apt update -q && apt install -y -q --no-install-recommends "$@"; }
}

find_missing "$@"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "There is no apt-get here: please install what the list above names, in this system's own way, and start again." >&2
    exit 1
fi
if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null 2>&1; then
    echo "Please ask an administrator to run: apt-get install$missing" >&2
    exit 1
fi

# The packages are separate words. Those behind them are comforts (the prompt, pictures, sound,
# compressed data files), not worth a network access of their own.
echo "Installing:$missing"
log=$(mktemp)
# shellcheck disable=SC2086
if ! install $missing libedit-dev zlib1g-dev libpng-dev libjpeg-dev libsndfile1-dev >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    echo "The installation failed (see above). By hand: apt-get install$missing" >&2
    exit 1
fi
rm -f "$log"
