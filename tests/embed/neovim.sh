#!/bin/sh
# The example of scripts/hosts/ for Neovim trains: the loss falls, and points that it has not seen and the corners of the
# square get their classes. Left out without Neovim or a module for LuaJIT.
set -eu
cd "$NNLUA_SOURCE"

sanitize=$(sed -n 's/^NNLUA_SANITIZE:[A-Z]*=//p' "$NNLUA_BUILD/CMakeCache.txt")
[ -z "$sanitize" ] || { echo "Neovim does not load a module with sanitizers: skipped." && exit 0; }
command -v nvim >/dev/null || { echo "There is no Neovim: skipped." && exit 0; }
[ -e "$NNLUA_BUILD/luajit/nnlua.so" ] || { echo "There is no module for LuaJIT here: skipped." && exit 0; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
    echo "neovim.sh: $*" >&2
    cat "$folder"/* >&2 2>/dev/null || true
    exit 1
}

# Neovim built with plain Lua 5.1 has no use for that module.
echo 'io.write(jit and "luajit" or "lua")' >"$folder/which.lua"
which=$(timeout 20 nvim --headless --clean -S "$folder/which.lua" -c "qa!" 2>/dev/null) || fail "Neovim does not start"
[ "$which" = luajit ] || { echo "This Neovim has no LuaJIT: skipped." && exit 0; }

HOME=$folder LUA_CPATH="$NNLUA_BUILD/luajit/?.so;;" timeout 60 nvim --headless --clean -S scripts/hosts/neovim.lua \
    -c "write! $folder/report" -c "qa!" >"$folder/out" 2>&1 || fail "Neovim failed"
[ -s "$folder/report" ] || fail "no report"

awk '
    $1 == "epoch" && $2 == 1 { first = $4 }
    $1 == "epoch" { last = $4 }
    /^points not seen/ { accuracy = $7 }
    / gives / { corners = corners ($NF > 0.5 ? 1 : 0) }
    END { exit !(first > 0.3 && last < first / 10 && accuracy > 0.95 && corners == "0110") }
' "$folder/report" || fail "it has not learned"
echo "Neovim trains."
