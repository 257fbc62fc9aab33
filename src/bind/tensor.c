// tensor.c: tensors as userdata: one reference each, fields, operators, text. Methods that are operations
// come from ops.c, indexing from index.c.
#include "bind/bind.h"

#include <string.h>

// Bytes of tensors for which Lua's collector goes once around, at the least. Few enough that the memory of
// what it finds is still in the cache when it is used again.
#define COLLECTOR_ROUND ((size_t)4 << 20)

#define REPORT ((size_t)1 << 16) // bytes between two looks

nnl_bind *nnl_bind_of(lua_State *L) {
    nnl_bind *bind = lua_touserdata(L, lua_upvalueindex(1));
    bind->L = L;
    bind->option = NULL;
    if (bind->depth == 0) nnl_request_clear(bind->request); // one that came too late for the call it meant
    return bind;
}

void nnl_bind_finalizing(lua_State *L) {
    nnl_bind *bind = lua_touserdata(L, lua_upvalueindex(1));
    bind->L = L; // the thread before may be garbage itself
}

void **nnl_push_object(lua_State *L, nnl_bind *bind, nnl_kept kind) {
    nnl_object *o = nnl_lua_new_userdata(L, sizeof *o, 0);
    *o = (nnl_object){.object = NULL, .mark = bind->metatable[kind]};
    nnl_lua_get_value(L, lua_upvalueindex(1), (int)kind);
    lua_setmetatable(L, -2);
    return &o->object;
}

// Tensors' bytes become debt of the collector, in the measure of Lua's own memory: after a round's worth of
// them it has been through everything once.
static void report_fresh(lua_State *L, nnl_allocator *allocator) {
    size_t fresh = allocator->since_report, round = allocator->stats.live / 2;
    if (round < COLLECTOR_ROUND) round = COLLECTOR_ROUND;
    double share = (double)fresh / (double)round;
    allocator->since_report = 0;
    nnl_lua_gc_pace(L, 1 + (int)((double)nnl_lua_gc_kilobytes(L) * (share < 2 ? share : 2)));
}

static void feed_collector(lua_State *L, nnl_bind *bind) {
    nnl_allocator *allocator = &bind->ctx->allocator;
    if (allocator->since_report >= REPORT) report_fresh(L, allocator);
}

nnl_tensor **nnl_push_slot(lua_State *L, nnl_bind *bind) {
    feed_collector(L, bind);
    return (nnl_tensor **)nnl_push_object(L, bind, NNL_KEPT_TENSOR);
}

nnl_tensor **nnl_push_slot_by(lua_State *L, nnl_bind *bind, int n) {
    feed_collector(L, bind);
    nnl_object *o = nnl_lua_new_userdata(L, sizeof *o, 0);
    *o = (nnl_object){.object = NULL, .mark = bind->metatable[NNL_KEPT_TENSOR]};
    lua_pushvalue(L, lua_upvalueindex(n));
    lua_setmetatable(L, -2);
    return (nnl_tensor **)&o->object;
}

int nnl_fill_slot(lua_State *L, nnl_bind *bind, nnl_tensor **slot, nnl_tensor *t) {
    *slot = t;
    return t ? 1 : nnl_raise(L, bind);
}

int nnl_push_borrowed(lua_State *L, nnl_bind *bind, nnl_tensor *t) {
    *nnl_push_slot(L, bind) = nnl_tensor_retain(t);
    return 1;
}

int nnl_push_tensor(lua_State *L, nnl_bind *bind, nnl_tensor *t) {
    if (!t) return nnl_raise(L, bind);
    *nnl_push_object(L, bind, NNL_KEPT_TENSOR) = t;
    feed_collector(L, bind);
    return 1;
}

nnl_tensor *nnl_check_tensor(lua_State *L, const nnl_bind *bind, int arg) {
    nnl_tensor *t = nnl_to_tensor(L, bind, arg);
    if (!t && arg == 1) nnl_self_error(L, bind);
    if (!t) nnl_type_error(L, bind, arg, "tensor");
    return t;
}

static int tensor_gc(lua_State *L) {
    nnl_tensor **object = lua_touserdata(L, 1);
    nnl_tensor *t = *object;
    *object = NULL;
    if (t && (t->autograd || t->base)) nnl_bind_finalizing(L); // a graph may hold functions of Lua's
    nnl_tensor_release(t);
    return 0;
}

// ---- fields

static void push_shape(lua_State *L, const nnl_shape *shape) {
    lua_createtable(L, shape->ndim, 0);
    for (int d = 0; d < shape->ndim; d++) {
        lua_pushinteger(L, (lua_Integer)shape->size[d]);
        lua_rawseti(L, -2, d + 1);
    }
}

// What is no field and no method is nil, as everywhere in Lua; but what is a slip away from one is a mistake.
static int push_unknown(lua_State *L, const char *name) {
    nnl_hint hint = nnl_hint_for(name);
    nnl_hint_keys(&hint, L, lua_upvalueindex(2));
    nnl_hint_words(&hint, "shape dtype ndim nbytes grad requires_grad is_leaf");
    if (hint.name[0]) return nnl_error(L, "a tensor has no '%s'%s", name, nnl_hint_push(L, &hint));
    if (lua_isnumber(L, 2))
        return nnl_error(L, "index: positions are numbers, got the string '%s'; use tonumber", name);
    lua_pushnil(L);
    return 1;
}

static int push_field(lua_State *L, nnl_bind *bind, nnl_tensor *t, const char *name) {
    if (strcmp(name, "shape") == 0) {
        push_shape(L, &t->shape);
    } else if (strcmp(name, "dtype") == 0) {
        lua_pushstring(L, nnl_dtype_get(t->dtype)->name);
    } else if (strcmp(name, "ndim") == 0) {
        lua_pushinteger(L, t->shape.ndim);
    } else if (strcmp(name, "nbytes") == 0) {
        lua_pushinteger(L, (lua_Integer)(nnl_tensor_numel(t) * (int64_t)nnl_dtype_size(t->dtype)));
    } else if (strcmp(name, "requires_grad") == 0) {
        lua_pushboolean(L, nnl_requires_grad(t));
    } else if (strcmp(name, "is_leaf") == 0) {
        lua_pushboolean(L, nnl_is_leaf(t));
    } else if (strcmp(name, "grad_fn") == 0 && !nnl_is_leaf(t)) {
        lua_pushstring(L, nnl_is_behind(t) ? "indexing" : t->autograd->node->op->name);
    } else if (strcmp(name, "grad") == 0 && nnl_grad_get(t)) {
        return nnl_push_borrowed(L, bind, nnl_grad_get(t));
    } else if (strcmp(name, "grad") == 0) {
        lua_pushnil(L);
    } else {
        return push_unknown(L, name);
    }
    return 1;
}

// Upvalue 2: the table of methods.
static int tensor_index(lua_State *L) {
    bool named = lua_type(L, 2) == LUA_TSTRING;
    if (named) { // a method, most often: found without a look at the tensor
        lua_pushvalue(L, 2);
        if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL) return 1;
    }
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    return named ? push_field(L, bind, t, lua_tostring(L, 2)) : nnl_index_read(L, bind, t);
}

static int set_field(lua_State *L, nnl_bind *bind, nnl_tensor *t, const char *name) {
    nnl_status status = NNL_OK;
    if (strcmp(name, "grad") == 0) {
        nnl_tensor *grad = lua_isnil(L, 3) ? NULL : nnl_check_tensor(L, bind, 3);
        status = nnl_grad_set(bind->ctx, t, grad);
    } else if (strcmp(name, "requires_grad") == 0) {
        if (!lua_isboolean(L, 3)) return nnl_type_error(L, bind, 3, "boolean");
        status = nnl_set_requires_grad(bind->ctx, t, lua_toboolean(L, 3));
    } else {
        return nnl_error(L, "a tensor has no field '%s' to set; there are grad and requires_grad", name);
    }
    return status == NNL_OK ? 0 : nnl_raise(L, bind);
}

static int tensor_newindex(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    if (lua_type(L, 2) == LUA_TSTRING) return set_field(L, bind, t, lua_tostring(L, 2));
    return nnl_index_write(L, bind, t);
}

static int tensor_len(lua_State *L) {
    nnl_tensor *t = nnl_check_tensor(L, nnl_bind_of(L), 1);
    if (t->shape.ndim == 0) return nnl_error(L, "a tensor of no dimensions has no length");
    lua_pushinteger(L, (lua_Integer)t->shape.size[0]);
    return 1;
}

// t .. "text": for messages. Two tensors are joined by nn.cat.
static int tensor_concat(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    if (nnl_to_tensor(L, bind, 1) && nnl_to_tensor(L, bind, 2))
        return nnl_error(L, "tensors are joined by nn.cat({a, b}, dim), not by ..");
    for (int side = 1; side <= 2; side++) {
        if (!nnl_to_tensor(L, bind, side) && !lua_isstring(L, side))
            return nnl_error(L, "a tensor is joined with text by .., not with a %s",
                             nnl_type_name(L, bind, side));
        luaL_tolstring(L, side, NULL);
    }
    lua_concat(L, 2);
    return 1;
}

// Lua makes a boolean of whatever a comparison gives, which a tensor of many cannot be.
static int tensor_compare(lua_State *L) {
    nnl_bind_of(L);
    return nnl_error(L, "tensors are compared element by element by a:lt(b), a:le(b), a:gt(b) and a:ge(b), "
                        "not by < and >");
}

// The next row (or number) of for i, row in pairs(t).
static int next_row(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    int64_t after = nnl_check_integer(L, bind, 2) + 1;
    lua_settop(L, 1);
    if (after > t->shape.size[0]) return 0;
    lua_pushinteger(L, (lua_Integer)after);
    nnl_index_read(L, bind, t);
    lua_pushvalue(L, 2);
    lua_insert(L, -2);
    return 2;
}

// Upvalue 2: next_row.
static int tensor_pairs(lua_State *L) {
    nnl_tensor *t = nnl_check_tensor(L, nnl_bind_of(L), 1);
    if (t->shape.ndim == 0) return nnl_error(L, "a tensor of no dimensions has nothing to go through");
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 0);
    return 3;
}

static int tensor_eq(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *a = nnl_to_tensor(L, bind, 1), *b = nnl_to_tensor(L, bind, 2);
    lua_pushboolean(L, a && a == b);
    return 1;
}

// ---- methods that are no operations

static int tensor_size(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    if (lua_isnoneornil(L, 2)) {
        push_shape(L, &t->shape);
    } else {
        int dim = nnl_check_dim(L, bind, 2, t->shape.ndim);
        if (t->shape.ndim == 0) return nnl_arg_error(L, bind, 2, "the tensor has no dimensions");
        lua_pushinteger(L, (lua_Integer)t->shape.size[dim]);
    }
    return 1;
}

static int tensor_numel(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)nnl_tensor_numel(nnl_check_tensor(L, nnl_bind_of(L), 1)));
    return 1;
}

static int tensor_element_size(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)nnl_dtype_size(nnl_check_tensor(L, nnl_bind_of(L), 1)->dtype));
    return 1;
}

static int tensor_is_contiguous(lua_State *L) {
    lua_pushboolean(L, nnl_tensor_is_contiguous(nnl_check_tensor(L, nnl_bind_of(L), 1)));
    return 1;
}

static int tensor_dim(lua_State *L) {
    lua_pushinteger(L, nnl_check_tensor(L, nnl_bind_of(L), 1)->shape.ndim);
    return 1;
}

// x:copy_(source): broadcast and converted
static int tensor_copy(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1), *source = nnl_check_tensor(L, bind, 2);
    if (nnl_assign(bind->ctx, t, NULL, source) != NNL_OK) return nnl_raise(L, bind);
    lua_settop(L, 1);
    return 1;
}

static int fill(lua_State *L, nnl_bind *bind, nnl_tensor *t, nnl_number value) {
    nnl_check_holds(L, t->dtype, value);
    if (nnl_assign_number(bind->ctx, t, NULL, value) != NNL_OK) return nnl_raise(L, bind);
    lua_settop(L, 1);
    return 1;
}

static int tensor_fill(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    return fill(L, bind, t, nnl_check_value(L, bind, 2));
}

static int tensor_zero(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    return fill(L, bind, nnl_check_tensor(L, bind, 1), nnl_number_int(0));
}

static const luaL_Reg metamethods[] = {
    {"__gc", tensor_gc},      {"__close", tensor_gc},   {"__newindex", tensor_newindex},
    {"__len", tensor_len},    {"__eq", tensor_eq},      {"__concat", tensor_concat},
    {"__lt", tensor_compare}, {"__le", tensor_compare}, {NULL, NULL},
};

static const luaL_Reg methods[] = {
    {"size", tensor_size},
    {"numel", tensor_numel},
    {"element_size", tensor_element_size},
    {"is_contiguous", tensor_is_contiguous},
    {"dim", tensor_dim},
    {"copy_", tensor_copy},
    {"fill_", tensor_fill},
    {"zero_", tensor_zero},
    {NULL, NULL},
};

static int is_tensor(lua_State *L) {
    lua_pushboolean(L, nnl_to_tensor(L, nnl_bind_of(L), 1) != NULL);
    return 1;
}

// The same value for all userdata of one tensor, while any of them lives: a key for tables.
static int tensor_id(lua_State *L) {
    lua_pushlightuserdata(L, nnl_check_tensor(L, nnl_bind_of(L), 1));
    return 1;
}

void nnl_open_tensor(lua_State *L) {
    lua_newtable(L);
    nnl_set_functions(L, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, NNL_CORE_INDEX, "tensor_methods");
    nnl_new_metatable(L, NNL_KEPT_TENSOR, "tensor", metamethods);
    lua_insert(L, -2);
    nnl_push_function(L, tensor_index, 1);
    lua_setfield(L, -2, "__index");
    nnl_push_function(L, next_row, 0);
    nnl_push_function(L, tensor_pairs, 1);
    lua_setfield(L, -2, "__pairs");
    lua_setfield(L, NNL_CORE_INDEX, "tensor_metatable");
    nnl_push_function(L, is_tensor, 0);
    lua_setfield(L, NNL_CORE_INDEX, "is_tensor");
    nnl_push_function(L, tensor_id, 0);
    lua_setfield(L, NNL_CORE_INDEX, "tensor_id");
}
