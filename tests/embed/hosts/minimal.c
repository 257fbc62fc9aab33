// minimal.c: the least that a program does: a state of its own, the library, its own numbers in, a model's
// answer out. Compiles as C++ too.
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <nnlua.h>

#include <stdio.h>
#include <string.h>

static const char script[] =
    "local nn = require 'nnlua'\n"
    "local model = nn.Sequential{nn.Dense(2, 4, {activation = 'tanh'}), nn.Dense(4, 3)}\n"
    "return model";

int main(void) {
    float sample[2] = {0.5f, -1.0f};
    const int64_t shape[2] = {1, 2};
    nnlua_array input = nnlua_array_of(sample, NNLUA_FLOAT32, 2, shape), output;
    lua_State *L = luaL_newstate();
    if (!L) return 1;
    luaL_openlibs(L);
    int failed = nnlua_abi_version() != NNLUA_ABI || nnlua_open(L) != NNLUA_OK ||
                 nnlua_run_string(L, script, strlen(script), "=script", 0, 1) != NNLUA_OK ||
                 nnlua_push_tensor(L, &input, NULL, NULL) != NNLUA_OK || // over `sample` itself
                 nnlua_predict(L, -2) != NNLUA_OK || nnlua_get_array(L, -1, &output) != NNLUA_OK;
    if (failed) {
        fprintf(stderr, "%s\n", nnlua_error(L));
    } else {
        printf("nnlua %s: a prediction of shape %d x %d\n", nnlua_version(), (int)output.shape[0],
               (int)output.shape[1]);
    }
    lua_close(L);
    return failed;
}
