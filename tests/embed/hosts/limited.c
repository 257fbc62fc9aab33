// limited.c: a host whose Lua may use little memory, and nnlua within it, at every limit from nothing to
// enough: running out gives an error each time, never a crash, and everything is given back.
#include "host.h"

typedef struct budget {
    size_t used, most, blocks;
    unsigned long refused;
} budget;

static void *allocate(void *ud, void *memory, size_t old, size_t size) {
    budget *b = ud;
    size_t before = memory ? old : 0;
    if (size == 0) {
        b->used -= before;
        b->blocks -= memory != NULL;
        free(memory);
        return NULL;
    }
    if (size > before && b->used - before + size > b->most) {
        b->refused++;
        return NULL;
    }
    void *moved = realloc(memory, size);
    if (!moved) return NULL;
    b->used = b->used - before + size;
    b->blocks += memory == NULL;
    return moved;
}

static int open_libraries(lua_State *L) {
    luaL_openlibs(L);
    return 0;
}

static const char script[] =
    "local nn = require 'nnlua'; nn.manual_seed(1)\n"
    "local model = nn.Sequential{nn.Dense(4, 8, {activation = 'tanh'}), nn.Dense(8, 1)}\n"
    "model:compile{optimizer = 'adam', loss = 'mse', metrics = {'mae'}}\n"
    "local x, y = nn.randn(64, 4), nn.randn(64, 1)\n"
    "local loss = model:fit(x, y, {epochs = 2, verbose = 0}).loss[2]\n"
    "local state = model:state_dict()\n"
    "return loss, nn.memory().tensors, tostring(state['0.weight'])";

static int held;

static void count_release(void *owner) {
    (void)owner;
    held--;
}

// Whether all of it fits within the limit.
static int try_with(size_t limit) {
    budget b = {.most = limit};
    float data[4] = {1, 2, 3, 4};
    const int64_t shape[1] = {4};
    nnlua_array array = nnlua_array_of(data, NNLUA_FLOAT32, 1, shape);
    lua_State *L = lua_newstate(allocate, &b);
    if (!L) return 0;
    lua_pushcfunction(L,
                      open_libraries); // of a fresh state: the one allocation that may not fail is behind us
    int fits = lua_pcall(L, 0, 0, 0) == LUA_OK && nnlua_open(L) == NNLUA_OK;
    if (fits) {
        if (nnlua_push_tensor(L, &array, count_release, NULL) == NNLUA_OK) held++;
        nnlua_status status = nnlua_run_string(L, script, sizeof script - 1, "=script", 0, 3);
        fits = status == NNLUA_OK;
        CHECK(fits || nnlua_error(L)[0] != '\0');
        CHECK(fits || b.refused > 0);
    }
    lua_close(L);
    CHECK(b.used == 0 && b.blocks == 0 && held == 0);
    return fits;
}

int main(void) {
    int fitted = 0, failed = 0;
    for (size_t limit = 4096; fitted < 3 && limit < ((size_t)64 << 20); limit += limit / 24 + 1000) {
        if (try_with(limit)) {
            fitted++;
        } else {
            failed++;
        }
    }
    CHECK(fitted == 3 && failed > 40);
    return 0;
}
