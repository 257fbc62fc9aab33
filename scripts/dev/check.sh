#!/bin/sh
# The checks beside the tests. Every check runs even if one before failed; exit code 1 if any failed.
#
#   sh scripts/dev/check.sh [NAME...]      without names: all but the slow ones
#
#   includes     the order of the folders            gcc, clang   no warning
#   sizes        lengths of files and functions      symbols      what nnlua.so shows, and what the engine must not use
#   format       clang-format                        sanitizers   the tests under ASan and UBSan, leaks included
#   lint         luacheck; globals above all         collector    the Lua tests with a collector that never rests
#   lua51        modules and specs parse in Lua 5.1  luas         the specs in stock Lua 5.4, 5.3, 5.1 and LuaJIT
#   cppcheck     mistakes in C                       slow: valgrind, threads (TSan)
set -u
cd "$(dirname "$0")/../.." || exit 1

ALL="includes sizes format lint lua51 cppcheck symbols gcc clang luas sanitizers collector"
SLOW="valgrind threads"

jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

c_files() { find src tests scripts -name '*.[ch]' | sort; }
lua_files() { find lua scripts tests -name '*.lua' | sort; }

# Paths are words: none of ours has a blank.
# shellcheck disable=SC2046
check_includes() { lua5.4 scripts/dev/layers.lua $(find src -name '*.[ch]' -o -name '*.def' | sort); }

# shellcheck disable=SC2046
check_sizes() { lua5.4 scripts/dev/sizes.lua $(c_files) $(find src -name '*.def') $(lua_files); }

# shellcheck disable=SC2046
check_format() { clang-format --dry-run -Werror $(c_files); }

# shellcheck disable=SC2046
check_lint() { luacheck --quiet --no-color --codes $(lua_files); }

check_lua51() {
    bad=0
    for file in $(find lua -name '*.lua' | sort) $(grep -L '^-- Needs Lua 5.3: ' tests/lua/*.lua); do
        lua5.1 -e "assert(loadfile('$file'))" || bad=1
    done
    return $bad
}

check_cppcheck() {
    cppcheck --quiet --std=c11 --library=posix --enable=warning,performance,portability --inline-suppr \
        --suppress=missingIncludeSystem --suppress=invalidPointerCast --suppress=nullPointer:src/kernel/isa/optim.c \
        --suppress=negativeIndex:src/bind/options.c -DLUA_VERSION_NUM=504 --error-exitcode=1 -j "$jobs" -I src -DNNL_ISA=baseline '-DNNL_VERSION=""' src
}

check_gcc() { sh scripts/dev/build.sh build-gcc --tests -DCMAKE_C_COMPILER=gcc -DNNLUA_WERROR=ON; }
check_clang() { sh scripts/dev/build.sh build-clang --tests -DCMAKE_C_COMPILER=clang -DNNLUA_WERROR=ON; }

# The names of the symbols that a filter over `objdump --syms` lets through must be none.
none() {
    found=$(cat)
    [ -z "$found" ] && return
    echo "$1:"
    echo "$found"
    return 1
}

# The engine does not jump, but for guard.c: functions of libpng and libjpeg for errors must not return (src/io/guard.h).
undefined_symbols() {
    objdump --syms "$1" | awk '/file format/ { file = $1 }
        /\*UND\*/ && !(file ~ /^guard\.c\.o/ && $NF ~ /^(_setjmp|longjmp|__longjmp_chk)$/) { print $NF }' | sort -u
}

check_symbols() {
    bad=0
    sh scripts/dev/build.sh build --tests || return 1
    for library in build/nnlua.so build/libnnlua.so; do
        objdump --dynamic-syms "$library" | awk '$2 == "g" && $4 != "*UND*" { print $NF }' |
            grep -vE '^(luaopen_nnlua|nnlua_)' | none "$library shows" || bad=1
        objdump -p "$library" | grep 'NEEDED.*liblua' | none "$library is linked with Lua" || bad=1
    done
    undefined_symbols build/libengine_static.a |
        grep -xE '_?exit|abort|(v|vf|f)?printf|puts|putchar|perror|std(in|out|err)|(_|__)?(sig)?(longjmp|setjmp)(_chk)?|setlocale|rand|srand|signal|sigaction|lua.*' |
        grep -vxE 'v?fprintf' | none "the engine uses" || bad=1
    objdump --syms build/libengine_static.a | awk '$0 ~ / O \.(data|bss|tdata|tbss|data\.rel|data\.rel\.local)\t/ || / O \*COM\*/ { print $NF }' |
        grep -vx own_process | none "the engine has variables that all states share" || bad=1
    return $bad
}

check_sanitizers() {
    sh scripts/dev/build.sh build-asan --tests -DCMAKE_BUILD_TYPE=Debug -DNNLUA_SANITIZE=address,undefined || return 1
    ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 \
        sh scripts/dev/suite.sh build-asan
}

check_collector() {
    sh scripts/dev/build.sh build --tests || return 1
    NNLUA_TEST_COLLECTOR=aggressive sh scripts/dev/suite.sh build _spec
}

check_luas() {
    bad=0
    sh scripts/dev/build.sh build-luas '-DNNLUA_LUA=5.4;5.3;5.1;luajit' -DNNLUA_MODULE_ONLY=ON -DNNLUA_WERROR=ON || return 1
    for lua in 5.4 5.3 5.1 luajit; do
        folder=build-luas/$lua
        [ $lua = 5.4 ] && folder=build-luas
        interpreter=lua$lua
        [ $lua = luajit ] && interpreter=luajit
        echo "$interpreter:"
        NNLUA_TEST_LUA=$interpreter NNLUA_TEST_MODULE=$folder sh scripts/dev/suite.sh build-luas >build-luas/specs.log || bad=1
        grep -v '^ok' build-luas/specs.log
    done
    return $bad
}

check_valgrind() {
    sh scripts/dev/build.sh build --tests || return 1
    NNLUA_TEST_SECONDS=3600 NNLUA_TEST_PROGRAMS=100 \
        NNLUA_TEST_PREFIX="valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=9" \
        sh scripts/dev/suite.sh build
}

check_threads() {
    sh scripts/dev/build.sh build-tsan --tests -DCMAKE_BUILD_TYPE=Debug -DNNLUA_SANITIZE=thread || return 1
    NNLUA_TEST_PROGRAMS=500 TSAN_OPTIONS=halt_on_error=1:die_after_fork=0 sh scripts/dev/suite.sh build-tsan
}

sh scripts/setup.sh tests checks || exit 1

failed=""
for name in ${*:-$ALL}; do
    case " $ALL $SLOW " in
    *" $name "*) ;;
    *)
        echo "check.sh: no such check: $name (there are: $ALL $SLOW)" >&2
        exit 2
        ;;
    esac
    echo "== $name"
    start=$(date +%s)
    if "check_$name"; then outcome=ok; else outcome=FAILED failed="$failed $name"; fi
    echo "== $name: $outcome ($(($(date +%s) - start)) s)"
done

[ -n "$failed" ] || { echo "All checks passed." && exit 0; }
echo "Checks that failed:$failed"
exit 1
