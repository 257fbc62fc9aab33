// host.h: what the example hosts share as tests: conditions that must hold, and a state with the library
// open.
#ifndef HOST_H
#define HOST_H

#include <nnlua.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                   \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

// The call must succeed.
#define MUST(L, call)                                                                                        \
    do {                                                                                                     \
        if ((call) != NNLUA_OK) {                                                                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, nnlua_error(L));                   \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

// Under valgrind and sanitizers, which are slow, hold on to memory, and find leaks themselves.
static inline int host_is_watched(void) {
    const char *prefix = getenv("NNLUA_TEST_PREFIX");
    return SANITIZED || (prefix && prefix[0] != '\0');
}

static inline lua_State *host_open(void) {
    lua_State *L = luaL_newstate();
    CHECK(L);
    luaL_openlibs(L);
    MUST(L, nnlua_open(L));
    return L;
}

static inline void host_run(lua_State *L, const char *code) {
    MUST(L, nnlua_run_string(L, code, strlen(code), "=script", 0, 0));
}

// The number that an expression gives.
static inline double host_number(lua_State *L, const char *expression) {
    char code[512];
    snprintf(code, sizeof code, "return %s", expression);
    MUST(L, nnlua_run_string(L, code, strlen(code), "=expression", 0, 1));
    CHECK(lua_isnumber(L, -1));
    double number = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return number;
}

// A kilobyte figure of /proc/self/status, such as "VmRSS:"; 0 where the system has none.
static inline long host_kilobytes(const char *figure) {
    char line[256];
    long kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        if (strncmp(line, figure, strlen(figure)) == 0) kilobytes = strtol(line + strlen(figure), NULL, 10);
    }
    if (status) fclose(status);
    return kilobytes;
}

#endif
