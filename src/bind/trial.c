// trial.c: trials of memory from Lua (base/trial.h), for lua/nnlua/estimate.lua. Sizes are strings of 64-bit
// numbers.
#include "base/trial.h"
#include "bind/bind.h"

#include <string.h>

// Runs the function at `fn` while the allocator notes or plays back. The limit is for what there really is.
static int run_in_trial(lua_State *L, nnl_bind *bind, nnl_trial *trial, int fn) {
    nnl_allocator *allocator = &bind->ctx->allocator;
    nnl_trial *before = allocator->trial;
    size_t limit = allocator->limit;
    lua_pushvalue(L, fn);
    allocator->trial = trial;
    if (trial->plan) allocator->limit = 0;
    int outcome = lua_pcall(L, 0, 0, 0);
    allocator->trial = before;
    if (trial->plan) allocator->limit = limit;
    return outcome;
}

// core.record_memory(fn): the sizes that fn asks for; nil where there is no memory to note them in
static int record_memory(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_trial trial = {.sizes = NULL};
    luaL_checktype(L, 1, LUA_TFUNCTION);
    int outcome = run_in_trial(L, bind, &trial, 1);
    if (outcome == LUA_OK && !trial.failed)
        lua_pushlstring(L, (const char *)trial.sizes, trial.count * sizeof *trial.sizes);
    if (outcome == LUA_OK && trial.failed) lua_pushnil(L);
    nnl_trial_clear(&trial);
    return outcome == LUA_OK ? 1 : lua_error(L);
}

static const uint64_t *check_sizes(lua_State *L, int arg, size_t *count) {
    size_t bytes;
    const char *text = luaL_checklstring(L, arg, &bytes);
    uint64_t *sizes = nnl_lua_new_userdata(L, bytes + sizeof *sizes, 0);
    memcpy(sizes, text, bytes);
    *count = bytes / sizeof *sizes;
    return sizes;
}

// core.plan_memory(at_low, low, at_high, high, wanted, first): the sizes at the scale wanted, the first being
// what `first` says, to the byte; nil where the two are not of as many requests
static int plan_memory(lua_State *L) {
    nnl_bind_of(L);
    size_t count, other;
    lua_settop(L, 6);
    const uint64_t *low = check_sizes(L, 1, &count), *high = check_sizes(L, 3, &other);
    if (count != other || count == 0) return lua_pushnil(L), 1;
    uint64_t *plan = nnl_lua_new_userdata(L, count * sizeof *plan, 0);
    nnl_trial_extend(count, low, luaL_checknumber(L, 2), high, luaL_checknumber(L, 4), luaL_checknumber(L, 5),
                     plan);
    plan[0] = NNL_TRIAL_EXACT | (uint64_t)luaL_checknumber(L, 6);
    lua_pushlstring(L, (const char *)plan, count * sizeof *plan);
    return 1;
}

// core.replay_memory(plan, fn): the peak of fn by the sizes of the plan; nil where fn asked for more than is
// planned
static int replay_memory(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_allocator *allocator = &bind->ctx->allocator;
    nnl_trial trial = {.sizes = NULL};
    lua_settop(L, 2);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    trial.plan = check_sizes(L, 1, &trial.planned);
    size_t peak = allocator->stats.peak, highest = allocator->highest;
    nnl_allocator_reset_peak(allocator);
    int outcome = run_in_trial(L, bind, &trial, 2);
    size_t found = allocator->stats.peak;
    allocator->stats.peak = peak;
    allocator->highest = highest;
    if (outcome != LUA_OK) return lua_error(L);
    if (trial.failed) lua_pushnil(L);
    if (!trial.failed) lua_pushinteger(L, (lua_Integer)found);
    return 1;
}

static const luaL_Reg functions[] = {{"record_memory", record_memory},
                                     {"plan_memory", plan_memory},
                                     {"replay_memory", replay_memory},
                                     {NULL, NULL}};

void nnl_open_trial(lua_State *L) {
    lua_pushvalue(L, NNL_CORE_INDEX);
    nnl_set_functions(L, functions);
}
