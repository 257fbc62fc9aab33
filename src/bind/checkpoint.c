// checkpoint.c: nn.checkpoint from Lua: a function whose values are computed again in backward
// (grad/rerun.h). The Lua side is in lua/nnlua/checkpoint.lua.
#include "bind/bind.h"
#include "grad/rerun.h"

typedef struct checkpoint {
    nnl_bind *bind;
    int callback; // runs the function again, with these inputs
    size_t count;
    nnl_hold inputs[];
} checkpoint;

// Runs protected: the checkpoint at 1, the function at 2.
static int again_body(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const checkpoint *c = lua_touserdata(L, 1);
    luaL_checkstack(L, (int)c->count + 4, "too many inputs");
    for (size_t i = 0; i < c->count; i++) {
        if (!c->inputs[i].tensor)
            return luaL_error(
                L, "nn.checkpoint: input %d was changed in place, so that the function cannot run again",
                (int)i + 1);
        nnl_push_borrowed(L, bind, c->inputs[i].tensor);
    }
    lua_call(L, (int)c->count, 0);
    return 0;
}

static nnl_status checkpoint_run(nnl_context *ctx, void *arg) {
    checkpoint *c = arg;
    (void)ctx;
    return nnl_callback_run(c->bind, c->callback, again_body, c);
}

static void checkpoint_free(nnl_context *ctx, void *arg) {
    checkpoint *c = arg;
    for (size_t i = 0; i < c->count; i++) nnl_hold_drop(&c->inputs[i]);
    nnl_callback_free(c->bind, c->callback);
    nnl_free(&ctx->allocator, c);
}

static const nnl_rerun_class checkpoint_class = {checkpoint_run, checkpoint_free};

// The function at 1 and the tensors of the list at 2, as a region.
static nnl_rerun *new_region(lua_State *L, nnl_bind *bind) {
    nnl_context *ctx = bind->ctx;
    nnl_tensor_list inputs = nnl_check_tensors(L, bind, 2);
    lua_pushvalue(L, 1);
    int callback = nnl_callback_new(L, bind);
    checkpoint *c = nnl_alloc(&ctx->allocator, sizeof *c + inputs.count * sizeof(nnl_hold));
    if (!c) {
        nnl_callback_free(bind, callback);
        return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a checkpoint");
    }
    *c = (checkpoint){.bind = bind, .callback = callback, .count = inputs.count};
    for (size_t i = 0; i < inputs.count; i++) nnl_hold_take(&c->inputs[i], inputs.items[i]);
    return nnl_rerun_new(ctx, &checkpoint_class, c);
}

// Views whose base has changed find their places now, which is no part of what will run again.
static nnl_status catch_up(lua_State *L, nnl_bind *bind, int first, int last) {
    for (int i = first; i <= last; i++) {
        nnl_tensor *t = nnl_to_tensor(L, bind, i);
        if (t && nnl_requires_grad(t) && !nnl_autograd_of(bind->ctx, t)) return bind->ctx->status;
    }
    return NNL_OK;
}

// core.checkpoint(again, inputs, fn, ...): fn(...), whose operations save nothing; again(inputs...) does the
// same once more when backward needs it
static int checkpoint_call(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_checkany(L, 3);
    int count = lua_gettop(L) - 3;
    if (catch_up(L, bind, 4, lua_gettop(L)) != NNL_OK) return nnl_raise(L, bind);
    nnl_rerun *region = new_region(L, bind);
    if (!region) return nnl_raise(L, bind);
    lua_settop(L, 3 + count);
    nnl_rerun_begin(bind->ctx, region);
    int outcome = lua_pcall(L, count, LUA_MULTRET, 0);
    nnl_rerun_end(bind->ctx, region);
    nnl_rerun_release(region);
    return outcome == LUA_OK ? lua_gettop(L) - 2 : lua_error(L);
}

// core.in_checkpoint(): whether operations save nothing now
static int in_checkpoint(lua_State *L) {
    lua_pushboolean(L, nnl_rerun_is_lean(nnl_bind_of(L)->ctx));
    return 1;
}

static const luaL_Reg functions[] = {
    {"checkpoint", checkpoint_call}, {"in_checkpoint", in_checkpoint}, {NULL, NULL}};

void nnl_open_checkpoint(lua_State *L) {
    lua_pushvalue(L, NNL_CORE_INDEX);
    nnl_set_functions(L, functions);
}
