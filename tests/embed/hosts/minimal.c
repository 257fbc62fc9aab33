// minimal.c: the least that a program does to give nnlua to a Lua state of its own. Also C++.
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <nnlua.h>

#include <stdio.h>

int main(void) {
    lua_State *L = luaL_newstate();
    if (!L) return 1;
    luaL_openlibs(L);
    nnlua_preload(L);
    int status = luaL_dostring(L, "local nn = require 'nnlua'\n"
                                  "print(nn.version, nn.Dense(2, 3)(nn.ones(1, 2)).shape[2])");
    if (status != 0) fprintf(stderr, "%s\n", lua_tostring(L, -1));
    lua_close(L);
    return status;
}
