#!/bin/sh
# The example of scripts/hosts/ for Neovim trains: the loss falls, and points that it has not seen and the corners of the
# square get their classes. Left out without Neovim or a module for LuaJIT.
. "$NNLUA_SOURCE/tests/embed/hosts/server.sh"
needs nvim
needs_luajit_module

# Neovim built with plain Lua 5.1 has no use for that module.
echo 'io.write(jit and "luajit" or "lua")' >"$folder/which.lua"
which=$(timeout 20 nvim --headless --clean -S "$folder/which.lua" -c "qa!" 2>/dev/null) || fail "Neovim does not start"
[ "$which" = luajit ] || skip "This Neovim has no LuaJIT"

HOME=$folder LUA_CPATH="$NNLUA_BUILD/luajit/?.so;;" timeout 60 nvim --headless --clean -S scripts/hosts/neovim.lua \
    -c "write! $folder/report" -c "qa!" >"$folder/out.log" 2>&1 || fail "Neovim failed"
[ -s "$folder/report" ] || fail "no report"

awk '
    $1 == "epoch" && $2 == 1 { first = $4 }
    $1 == "epoch" { last = $4 }
    /^points not seen/ { accuracy = $7 }
    / gives / { corners = corners ($NF > 0.5 ? 1 : 0) }
    END { exit !(first > 0.3 && last < first / 10 && accuracy > 0.95 && corners == "0110") }
' "$folder/report" || fail "it has not learned"
echo "Neovim trains."
