// context.c: what belongs to the whole state: seed, memory, threads, output, what was built.
#include "bind/bind.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"

#include <stdio.h>
#include <time.h>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/ioctl.h>
#include <unistd.h>
#endif

static int manual_seed(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_random_seed(&bind->ctx->random, (uint64_t)nnl_check_integer(L, bind, 1));
    return 0;
}

// nn.get_rng_state(): the state of the random numbers as a string, to be saved and put back.
static int get_rng_state(lua_State *L) {
    const nnl_random *random = &nnl_bind_of(L)->ctx->random;
    lua_pushfstring(L, "philox %I %I", (LUAI_UACINT)random->seed, (LUAI_UACINT)random->position);
    return 1;
}

static int set_rng_state(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    long long seed, position;
    char rest;
    if (sscanf(luaL_checkstring(L, 1), "philox %lld %lld%c", &seed, &position, &rest) != 2) {
        return luaL_argerror(L, 1, "expected a state that get_rng_state gave");
    }
    bind->ctx->random = (nnl_random){.seed = (uint64_t)seed, .position = (uint64_t)position};
    return 0;
}

static void set_number(lua_State *L, const char *name, size_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

// nn.memory(): bytes live, cached, at the peak, allowed; live tensors; calls to the system's allocator
static int memory(lua_State *L) {
    const nnl_context *ctx = nnl_bind_of(L)->ctx;
    const nnl_memory_stats *stats = &ctx->allocator.stats;
    lua_newtable(L);
    set_number(L, "live", stats->live);
    set_number(L, "cached", stats->cached);
    set_number(L, "peak", stats->peak);
    set_number(L, "tensors", (size_t)ctx->live_tensors);
    set_number(L, "allocations", (size_t)stats->system);
    if (ctx->allocator.limit > 0) set_number(L, "limit", ctx->allocator.limit);
    return 1;
}

static int reset_peak_memory(lua_State *L) {
    nnl_allocator_reset_peak(&nnl_bind_of(L)->ctx->allocator);
    return 0;
}

static int set_memory_limit(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    int64_t limit = lua_isnoneornil(L, 1) ? 0 : nnl_check_integer(L, bind, 1);
    if (limit < 0) return luaL_argerror(L, 1, "the limit must not be negative");
    bind->ctx->allocator.limit = (size_t)limit;
    return 0;
}

// For tests: the allocation after `n` more fails.
static int fail_allocation(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    bind->ctx->allocator.fail_after = lua_isnoneornil(L, 1) ? -1 : nnl_check_integer(L, bind, 1);
    return 0;
}

static int set_num_threads(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    int64_t threads = nnl_check_integer(L, bind, 1);
    if (threads < 1 || threads > 1024) return luaL_argerror(L, 1, "expected 1 to 1024 threads");
    nnl_pool_set_threads(bind->ctx->pool, (int)threads);
    return 0;
}

static int get_num_threads(lua_State *L) {
    lua_pushinteger(L, nnl_pool_threads(nnl_bind_of(L)->ctx->pool));
    return 1;
}

static int wall_clock(lua_State *L) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
    return 1;
}

static int build_info(lua_State *L) {
    const nnl_context *ctx = nnl_bind_of(L)->ctx;
    lua_newtable(L);
    lua_pushstring(L, ctx->kernels->isa);
    lua_setfield(L, -2, "kernels");
    lua_pushstring(L, nnl_gemm_has_bfloat16(ctx->kernels) ? "avx512_bf16" : "emulated");
    lua_setfield(L, -2, "bfloat16");
    lua_pushstring(L, nnl_gemm_library());
    lua_setfield(L, -2, "blas");
    lua_pushstring(L, __VERSION__);
    lua_setfield(L, -2, "compiler");
    set_number(L, "processors", (size_t)nnl_processors());
    return 1;
}

// ---- output: to the function that was set, or to Lua's own io.write

static int set_output(lua_State *L) {
    nnl_bind_of(L);
    if (!lua_isnoneornil(L, 1)) luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    nnl_lua_set_value(L, lua_upvalueindex(1), NNL_KEPT_OUTPUT);
    return 0;
}

static int write_text(lua_State *L) {
    nnl_bind_of(L);
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    nnl_lua_get_value(L, lua_upvalueindex(1), NNL_KEPT_OUTPUT);
    if (lua_isnil(L, -1)) {
        lua_getglobal(L, "io");
        if (lua_type(L, -1) != LUA_TTABLE) return 0; // a host without io has no place for text
        lua_getfield(L, -1, "write");
    }
    lua_pushvalue(L, 1);
    lua_call(L, 1, 0);
    return 0;
}

static bool output_is_terminal(lua_State *L) {
    nnl_lua_get_value(L, lua_upvalueindex(1), NNL_KEPT_OUTPUT);
    bool terminal = lua_isnil(L, -1);
#if defined(__unix__) || defined(__APPLE__)
    terminal = terminal && isatty(STDOUT_FILENO);
#else
    terminal = false;
#endif
    lua_pop(L, 1);
    return terminal;
}

static int is_terminal(lua_State *L) {
    nnl_bind_of(L);
    lua_pushboolean(L, output_is_terminal(L));
    return 1;
}

static int terminal_width(lua_State *L) {
    int width = 80;
#if defined(__unix__) || defined(__APPLE__)
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) width = size.ws_col;
#endif
    lua_pushinteger(L, width);
    return 1;
}

static const luaL_Reg functions[] = {
    {"manual_seed", manual_seed},
    {"get_rng_state", get_rng_state},
    {"set_rng_state", set_rng_state},
    {"memory", memory},
    {"reset_peak_memory", reset_peak_memory},
    {"set_memory_limit", set_memory_limit},
    {"fail_allocation", fail_allocation},
    {"set_num_threads", set_num_threads},
    {"get_num_threads", get_num_threads},
    {"clock", wall_clock},
    {"build_info", build_info},
    {"set_output", set_output},
    {"write", write_text},
    {"is_terminal", is_terminal},
    {"terminal_width", terminal_width},
    {NULL, NULL},
};

void nnl_open_context(lua_State *L) {
    lua_pushvalue(L, NNL_CORE_INDEX);
    nnl_set_functions(L, functions);
}
