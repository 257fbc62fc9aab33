#!/bin/sh
# Installs the build into an empty folder, moves it, and uses it from there: the program, the module in stock Lua, a host
# built with pkg-config and one with CMake, in C and in C++, shared and static.
set -eu
cd "$NNLUA_SOURCE"

sanitize=$(sed -n 's/^NNLUA_SANITIZE:[A-Z]*=//p' "$NNLUA_BUILD/CMakeCache.txt")
[ -z "$sanitize" ] || { echo "A build with sanitizers is not for installing: skipped." && exit 0; }
command -v lua5.4 >/dev/null || { echo "There is no lua5.4: skipped." && exit 0; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
unset LD_LIBRARY_PATH PKG_CONFIG_PATH CMAKE_PREFIX_PATH LUA_PATH LUA_CPATH LUA_CPATH_5_4 LUA_PATH_5_4

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

expect() { # FILE...
    for file in "$@"; do [ -s "$file" ] || fail "not installed: $file"; done
}

cmake --install "$NNLUA_BUILD" --prefix "$folder/first" >"$folder/log" || fail "$(cat "$folder/log")"
mv "$folder/first" "$folder/moved"
prefix=$folder/moved
grep -rlF -e "$folder/first" -e "$NNLUA_BUILD" "$prefix" && fail "these files know where they were built or installed"

DESTDIR=$folder/destination cmake --install "$NNLUA_BUILD" --prefix /opt/nnlua >/dev/null
expect "$folder/destination/opt/nnlua/bin/nnlua"
[ ! -e /opt/nnlua ] || fail "DESTDIR was not honoured"

lib=$(dirname "$(find "$prefix" -name libnnlua.a)")
expect "$prefix/bin/nnlua" "$lib/libnnlua.so" "$lib/libnnlua.a" "$lib/lua/5.4/nnlua.so" "$prefix/include/nnlua.h" \
    "$lib/pkgconfig/nnlua.pc" "$lib/cmake/nnlua/nnluaConfig.cmake" "$prefix/share/doc/nnlua/README.md" \
    "$prefix/share/doc/nnlua/examples/train.lua"
[ ! -e src/app/nnlua.1 ] || expect "$prefix/share/man/man1/nnlua.1"

# The program and the module agree on everything, and run the examples where they lie.
(cd "$prefix/share/doc/nnlua/examples" && "$prefix/bin/nnlua" xor.lua >"$folder/program.txt" &&
    LUA_CPATH="$lib/lua/5.4/?.so" lua5.4 xor.lua >"$folder/module.txt") || fail "the example failed"
cmp "$folder/program.txt" "$folder/module.txt" || fail "the program and stock Lua differ"

# runs PROGRAM...: says its version, and the size of a dimension
runs() {
    said=$("$@") || fail "does not run: $*"
    case $said in *3) ;; *) fail "$* says '$said'" ;; esac
}

host=tests/embed/hosts/minimal.c
export PKG_CONFIG_PATH="$lib/pkgconfig"
# shellcheck disable=SC2046
cc -o "$folder/shared" $host $(pkg-config --cflags --libs nnlua lua5.4)
runs env LD_LIBRARY_PATH="$lib" "$folder/shared"
# shellcheck disable=SC2046
cc -o "$folder/static" $host $(pkg-config --cflags nnlua lua5.4) "$lib/libnnlua.a" \
    $(pkg-config --static --libs-only-l nnlua | sed 's/-lnnlua//') $(pkg-config --libs lua5.4)
runs "$folder/static"

mkdir "$folder/project"
cp $host "$folder/project/host.c"
cp $host "$folder/project/host.cpp"
cat >"$folder/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(host C CXX)
find_package(nnlua 0.1 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(lua REQUIRED IMPORTED_TARGET lua${nnlua_LUA_VERSION})
add_executable(shared host.cpp)
target_link_libraries(shared PRIVATE nnlua::nnlua PkgConfig::lua)
add_executable(static host.c)
target_link_libraries(static PRIVATE nnlua::nnlua_static PkgConfig::lua)
END
cxx=on
command -v c++ >/dev/null || { echo "There is no C++ compiler: the host in C++ is left out." && cxx=off; }
[ $cxx = on ] || sed -i -e 's/ CXX//' -e 's/host.cpp/host.c/' "$folder/project/CMakeLists.txt"
{ cmake -S "$folder/project" -B "$folder/project/build" -DCMAKE_PREFIX_PATH="$prefix" &&
    cmake --build "$folder/project/build"; } >"$folder/log" 2>&1 || fail "$(cat "$folder/log")"
runs "$folder/project/build/shared"
runs "$folder/project/build/static"

grep -q "^version = \"$(sed -n 's/.*NNLUA_VERSION "\(.*\)"/\1/p' src/nnlua.h)-" nnlua-*.rockspec ||
    fail "the rockspec is of another version than nnlua.h"
