// autograd.c: gradients from Lua: backward, nn.grad, hooks, and operations of the script's own.
#include "bind/bind.h"

#include <string.h>

static nnl_backward_options read_options(lua_State *L, const nnl_bind *bind, int table) {
    nnl_backward_options options = {false, false};
    options.create_graph = nnl_option_bool(L, bind, table, "create_graph");
    options.retain_graph = nnl_option_bool(L, bind, table, "retain_graph") || options.create_graph;
    return options;
}

// loss:backward([gradient][, {retain_graph, create_graph}])
static int tensor_backward(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    int table = lua_type(L, lua_gettop(L)) == LUA_TTABLE ? lua_gettop(L) : 0;
    nnl_tensor *seed = lua_isnoneornil(L, 2) || table == 2 ? NULL : nnl_check_tensor(L, bind, 2);
    nnl_check_options(L, table, "retain_graph create_graph");
    nnl_backward_options options = read_options(L, bind, table);
    if (nnl_backward(bind->ctx, t, seed, &options) != NNL_OK) return nnl_raise(L, bind);
    return 0;
}

// One tensor or a list of them, not an empty one: a table without elements is more often a wrong argument.
static nnl_tensor_list one_or_more(lua_State *L, nnl_bind *bind, int arg) {
    nnl_tensor *one = nnl_to_tensor(L, bind, arg);
    if (!one) {
        nnl_tensor_list several = nnl_check_tensors(L, bind, arg);
        if (several.count == 0)
            nnl_arg_error(L, bind, arg, "at least one tensor expected, got an empty list");
        return several;
    }
    nnl_tensor_list list = {.items = nnl_lua_new_userdata(L, sizeof *list.items, 0), .count = 1};
    list.items[0] = one;
    return list;
}

// An input that the outputs do not depend on is more often a mistake than meant.
static void check_used(lua_State *L, const nnl_bind *bind, int table, nnl_tensor *const *grads,
                       size_t count) {
    if (nnl_option_bool(L, bind, table, "allow_unused")) return;
    for (size_t i = 0; i < count; i++) {
        if (grads[i]) continue;
        nnl_error(L,
                  "grad: the outputs do not depend on input %d; with allow_unused = true its gradient is nil",
                  (int)i + 1);
    }
}

// nn.grad(outputs, inputs, {grad_outputs, retain_graph, create_graph, allow_unused}): one gradient for each
// input
static int grad(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    int table = lua_isnoneornil(L, 3) ? 0 : 3;
    nnl_backward_options options = {false, false};
    nnl_tensor_list outputs = one_or_more(L, bind, 1), inputs = one_or_more(L, bind, 2), seeds = {NULL, 0};
    if (table) {
        nnl_check_options(L, table, "retain_graph create_graph grad_outputs allow_unused");
        nnl_push_option(L, table, "grad_outputs");
        if (!lua_isnil(L, -1)) seeds = one_or_more(L, bind, lua_gettop(L));
        if (seeds.items && seeds.count != outputs.count)
            return nnl_error(L, "grad: as many grad_outputs as outputs");
        options = read_options(L, bind, table);
    }
    nnl_tensor **grads = nnl_lua_new_userdata(L, (inputs.count + 1) * sizeof *grads, 0);
    int first = lua_gettop(L) + 1;
    luaL_checkstack(L, (int)inputs.count + 4, "too many inputs");
    for (size_t i = 0; i < inputs.count; i++) nnl_push_slot(L, bind);
    if (nnl_grad(bind->ctx, outputs.count, outputs.items, seeds.items, inputs.count, inputs.items, grads,
                 &options) != NNL_OK) {
        return nnl_raise(L, bind);
    }
    for (size_t i = 0; i < inputs.count; i++) {
        *(nnl_tensor **)lua_touserdata(L, first + (int)i) = grads[i];
    }
    check_used(L, bind, table, grads, inputs.count);
    for (size_t i = 0; i < inputs.count; i++) {
        if (grads[i]) continue;
        lua_pushnil(L);
        lua_replace(L, first + (int)i);
    }
    return (int)inputs.count;
}

static int tensor_requires_grad(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    bool wanted = lua_isnoneornil(L, 2) || lua_toboolean(L, 2);
    if (nnl_set_requires_grad(bind->ctx, t, wanted) != NNL_OK) return nnl_raise(L, bind);
    lua_settop(L, 1);
    return 1;
}

static int tensor_retain_grad(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    if (nnl_retain_grad(bind->ctx, nnl_check_tensor(L, bind, 1)) != NNL_OK) return nnl_raise(L, bind);
    lua_settop(L, 1);
    return 1;
}

static int tensor_detach_in_place(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    if (nnl_detach_in_place(bind->ctx, nnl_check_tensor(L, bind, 1)) != NNL_OK) return nnl_raise(L, bind);
    lua_settop(L, 1);
    return 1;
}

static int tensor_detach(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    return nnl_fill_slot(L, bind, slot, nnl_tensor_detach(t));
}

// ---- hooks

typedef struct held {
    nnl_bind *bind;
    int callback;
} held;

// A hook and the handle that the script got for it know each other, and either may go first.
typedef struct hook_arg {
    held h;
    nnl_autograd *place;
    void **handle; // NULL once that is collected
} hook_arg;

typedef struct hook_call {
    nnl_tensor *grad, *replacement;
} hook_call;

// Runs protected: the call at 1, the function at 2.
static int hook_body(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    hook_call *call = lua_touserdata(L, 1);
    nnl_push_borrowed(L, bind, call->grad);
    lua_call(L, 1, 1);
    if (lua_isnil(L, -1)) return 0;
    nnl_tensor *result = nnl_to_tensor(L, bind, -1);
    if (!result)
        return luaL_error(L, "a hook returns a tensor or nothing, not %s", nnl_type_name(L, bind, -1));
    if (!nnl_shape_equal(&result->shape, &call->grad->shape)) {
        return luaL_error(L, "a hook returns a gradient of the shape that it was given");
    }
    if (result->dtype != call->grad->dtype) {
        return luaL_error(L, "a hook returns a gradient of the dtype that it was given, %s, not %s",
                          nnl_dtype_get(call->grad->dtype)->name, nnl_dtype_get(result->dtype)->name);
    }
    call->replacement = nnl_tensor_retain(result);
    return 0;
}

static nnl_status hook_run(nnl_context *ctx, void *arg, nnl_tensor *gradient, nnl_tensor **replacement) {
    const hook_arg *hook = arg;
    hook_call call = {gradient, NULL};
    (void)ctx;
    nnl_status status = nnl_callback_run(hook->h.bind, hook->h.callback, hook_body, &call);
    *replacement = call.replacement;
    return status;
}

static void hook_free(nnl_context *ctx, void *arg) {
    hook_arg *hook = arg;
    if (hook->handle) *hook->handle = NULL;
    nnl_callback_free(hook->h.bind, hook->h.callback);
    nnl_free(&ctx->allocator, hook);
}

// handle = x:register_hook(function(grad) ... end); handle:remove()
static int tensor_register_hook(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    if (!lua_isfunction(L, 2)) return nnl_type_error(L, bind, 2, "function");
    lua_settop(L, 2);
    void **handle = nnl_push_object(L, bind, NNL_KEPT_HOOK);
    lua_insert(L, 2);
    int callback = nnl_callback_new(L, bind);
    hook_arg *hook = nnl_alloc(&bind->ctx->allocator, sizeof *hook);
    if (!hook) {
        nnl_callback_free(bind, callback);
        return nnl_error(L, "out of memory: no room for a hook");
    }
    *hook = (hook_arg){{bind, callback}, NULL, NULL};
    if (nnl_hook_add(bind->ctx, t, (nnl_hook){.run = hook_run, .free = hook_free, .arg = hook}) != NNL_OK) {
        return nnl_raise(L, bind);
    }
    hook->place = t->autograd;
    hook->handle = handle;
    *handle = hook;
    return 1;
}

static int hook_remove(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    hook_arg *hook = nnl_to_object(L, bind, 1, NNL_KEPT_HOOK);
    if (hook) nnl_hook_remove(hook->place, hook);
    return 0;
}

static int hook_gc(lua_State *L) {
    void **handle = lua_touserdata(L, 1);
    hook_arg *hook = *handle;
    if (hook) hook->handle = NULL;
    *handle = NULL;
    return 0;
}

static const luaL_Reg hook_methods[] = {{"remove", hook_remove}, {NULL, NULL}};
static const luaL_Reg hook_metamethods[] = {{"__gc", hook_gc}, {NULL, NULL}};

// ---- operations of the script's own: nn.Function's node (lua/nnlua/autograd.lua)

typedef struct function_call {
    nnl_node *node;
    nnl_tensor *const *dout;
    nnl_tensor **dx;
} function_call;

static void push_or_nil(lua_State *L, nnl_bind *bind, nnl_tensor *t) {
    if (t) {
        nnl_push_borrowed(L, bind, t);
    } else {
        lua_pushnil(L);
    }
}

static void take_gradient(lua_State *L, nnl_bind *bind, const function_call *call, int i, int at) {
    if (!nnl_node_needs(call->node, i) || lua_isnoneornil(L, at)) return;
    nnl_tensor *gradient = nnl_to_tensor(L, bind, at);
    if (!gradient) {
        luaL_error(L, "backward gave a %s as the gradient of input %d", nnl_type_name(L, bind, at), i + 1);
        return;
    }
    char expected[NNL_SHAPE_TEXT], got[NNL_SHAPE_TEXT];
    const nnl_shape *shape = &call->node->input[i]->shape;
    if (!nnl_shape_equal(&gradient->shape, shape)) {
        luaL_error(L, "backward gave a gradient of shape %s for input %d of shape %s",
                   nnl_shape_text(&gradient->shape, got), i + 1, nnl_shape_text(shape, expected));
    }
    call->dx[i] = nnl_tensor_retain(gradient);
}

// Runs protected: backward(dout..., saved...) gives one gradient for each input.
static int function_body(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const function_call *call = lua_touserdata(L, 1);
    const nnl_node *node = call->node;
    luaL_checkstack(L, node->n_outputs + node->n_saved + 4, "too many gradients");
    for (int k = 0; k < node->n_outputs; k++) push_or_nil(L, bind, call->dout[k]);
    for (int k = 0; k < node->n_saved; k++) push_or_nil(L, bind, nnl_node_saved(node, k));
    lua_call(L, node->n_outputs + node->n_saved, LUA_MULTRET);
    for (int i = 0; i < node->n_inputs; i++) take_gradient(L, bind, call, i, i + 2);
    return 0;
}

static nnl_status function_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                    nnl_tensor **dx) {
    const held *h = node->state;
    function_call call = {node, dout, dx};
    (void)ctx;
    return nnl_callback_run(h->bind, h->callback, function_body, &call);
}

static void function_free(nnl_context *ctx, const void *state) {
    const held *h = state;
    (void)ctx;
    nnl_callback_free(h->bind, h->callback);
}

static const nnl_op function_record = {.name = "nn.Function",
                                       .outputs = NNL_MAX_OUTPUTS,
                                       .backward = function_backward,
                                       .free_state = function_free};

// core.attach(inputs, outputs, backward, saved, constant): records backward as what made the outputs of the
// inputs; constant[k] where output k has no gradient
static int attach(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor_list inputs = nnl_check_tensors(L, bind, 1), outputs = nnl_check_tensors(L, bind, 2),
                    saved = nnl_check_tensors(L, bind, 4);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    luaL_checktype(L, 5, LUA_TTABLE);
    if (outputs.count > NNL_MAX_OUTPUTS) return nnl_error(L, "at most %d results", NNL_MAX_OUTPUTS);
    if (saved.count > NNL_MAX_SAVED)
        return nnl_error(L, "at most %d saved tensors; others may be fields of self", NNL_MAX_SAVED);
    if (!nnl_grad_wanted(bind->ctx, inputs.items, (int)inputs.count)) return 0;
    for (size_t k = 0; k < outputs.count; k++) {
        lua_rawgeti(L, 5, (lua_Integer)k + 1);
        if (lua_toboolean(L, -1)) outputs.items[k] = NULL;
        lua_pop(L, 1);
    }
    lua_pushvalue(L, 3);
    held state = {bind, nnl_callback_new(L, bind)};
    nnl_recording recording = {.op = &function_record,
                               .n_inputs = (int)inputs.count,
                               .inputs = inputs.items,
                               .n_outputs = (int)outputs.count,
                               .outputs = outputs.items,
                               .n_saved = (int)saved.count,
                               .state = &state,
                               .state_size = sizeof state};
    for (size_t k = 0; k < saved.count; k++) recording.saved[k] = saved.items[k];
    return nnl_record(bind->ctx, &recording) == NNL_OK ? 0 : nnl_raise(L, bind);
}

// ---- modes

// Calls fn(...) with the mode; the mode before comes back, also after an error.
static int with_mode(lua_State *L, bool mode) {
    nnl_bind *bind = nnl_bind_of(L);
    bool before = bind->ctx->grad_enabled;
    luaL_checkany(L, 1);
    bind->ctx->grad_enabled = mode;
    int outcome = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    bind->ctx->grad_enabled = before;
    return outcome == LUA_OK ? lua_gettop(L) : lua_error(L);
}

static int no_grad(lua_State *L) { return with_mode(L, false); }
static int enable_grad(lua_State *L) { return with_mode(L, true); }

static int is_grad_enabled(lua_State *L) {
    lua_pushboolean(L, nnl_bind_of(L)->ctx->grad_enabled);
    return 1;
}

static int set_grad_enabled(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    bind->ctx->grad_enabled = lua_toboolean(L, 1);
    return 0;
}

// autocast([options,] fn, ...): products of fn(...), and of backward through it, in bfloat16
static int autocast(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    bool before = bind->ctx->mixed, mode = true;
    if (lua_type(L, 1) == LUA_TTABLE) {
        nnl_check_options(L, 1, "enabled dtype");
        nnl_push_option(L, 1, "enabled");
        mode = lua_isnil(L, -1) || lua_toboolean(L, -1);
        nnl_push_option(L, 1, "dtype");
        if (!lua_isnil(L, -1) && nnl_check_dtype(L, bind, -1) != NNL_BFLOAT16)
            return nnl_error(L, "autocast: dtype is \"bfloat16\", got \"%s\"", lua_tostring(L, -1));
        lua_pop(L, 2);
        lua_remove(L, 1);
    }
    luaL_checkany(L, 1);
    bind->ctx->mixed = mode;
    int outcome = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    bind->ctx->mixed = before;
    return outcome == LUA_OK ? lua_gettop(L) : lua_error(L);
}

static int is_autocast_enabled(lua_State *L) {
    lua_pushboolean(L, nnl_bind_of(L)->ctx->mixed);
    return 1;
}

static const luaL_Reg methods[] = {
    {"backward", tensor_backward},
    {"requires_grad_", tensor_requires_grad},
    {"retain_grad", tensor_retain_grad},
    {"detach", tensor_detach},
    {"register_hook", tensor_register_hook},
    {"detach_", tensor_detach_in_place},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"grad", grad},
    {"attach", attach},
    {"no_grad", no_grad},
    {"enable_grad", enable_grad},
    {"is_grad_enabled", is_grad_enabled},
    {"set_grad_enabled", set_grad_enabled},
    {"autocast", autocast},
    {"is_autocast_enabled", is_autocast_enabled},
    {NULL, NULL},
};

void nnl_open_autograd(lua_State *L) {
    nnl_new_metatable(L, NNL_KEPT_HOOK, "hook", hook_metamethods);
    lua_newtable(L);
    nnl_set_functions(L, hook_methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushvalue(L, NNL_CORE_INDEX);
    nnl_set_functions(L, functions);
    lua_getfield(L, NNL_CORE_INDEX, "tensor_methods");
    nnl_set_functions(L, methods);
}
