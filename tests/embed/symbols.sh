#!/bin/sh
# What the libraries show is what nnlua.h declares, and nothing of ABI 1 has gone or changed since it was noted in
# tests/embed/abi.txt. Whoever must change a line there raises NNLUA_ABI.
set -eu
cd "$NNLUA_SOURCE"
command -v nm >/dev/null || { echo "There is no nm: skipped." && exit 0; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# A declaration a line, without comments: NNL_API type name(arguments);
sed 's|//.*||' src/nnlua.h | tr '\n' ' ' | sed 's/NNL_API/\n&/g' | sed -n 's/^NNL_API \([^;]*;\).*/\1/p' |
    sed -e 's/  */ /g' -e 's/ $//' | grep '(.*)' | sort >"$folder/declared"
sed 's/.*[ *]\([a-z_]*\)(.*/\1/' "$folder/declared" | sort >"$folder/names"

for library in libnnlua.so nnlua.so; do
    nm --dynamic --defined-only --extern-only "$NNLUA_BUILD/$library" | awk '$2 ~ /[TDBR]/ { print $3 }' |
        grep -vE '^(__asan|__ubsan|__tsan|__odr|_init|_fini)' | sort >"$folder/shown"
    readelf --dynamic "$NNLUA_BUILD/$library" | grep 'NEEDED.*liblua' && echo "$library is linked with Lua" && exit 1
    diff "$folder/names" "$folder/shown" || { echo "$library shows other symbols (>) than nnlua.h declares (<)" && exit 1; }
done

grep -v '^#' tests/embed/abi.txt | sort >"$folder/noted"
gone=$(comm -23 "$folder/noted" "$folder/declared")
[ -z "$gone" ] || { echo "no longer in nnlua.h, or changed:" && echo "$gone" && exit 1; }
