// pick.c: t[{rows, {1, 3}, columns}] with tensors of positions or masks among the items of the key. What is
// left of the key without them, {} in their places, is read as any other.
#include "bind/bind.h"

bool nnl_key_has_tensor(lua_State *L, const nnl_bind *bind) {
    bool found = false;
    for (int i = 1, count = (int)lua_rawlen(L, 2); i <= count && !found; i++) {
        lua_rawgeti(L, 2, i);
        found = nnl_to_tensor(L, bind, -1) != NULL;
        lua_pop(L, 1);
    }
    return found;
}

// Where a mask of one dimension is true. It stays on the stack.
static nnl_tensor *positions_of(lua_State *L, nnl_bind *bind, nnl_tensor *mask, int64_t size) {
    char text[NNL_SHAPE_TEXT];
    if (mask->shape.ndim != 1 || mask->shape.size[0] != size)
        nnl_error(L, "index: a mask beside other positions has the shape of its dimension, (%I), got %s",
                  (LUAI_UACINT)size, nnl_shape_text(&mask->shape, text));
    nnl_tensor **slot = nnl_push_slot(L, bind);
    nnl_fill_slot(L, bind, slot, nnl_true_positions(bind->ctx, mask));
    return *slot;
}

// Puts the plain rest of the key in its place at 2. keys[d] is the tensor for dimension d of what that rest
// gives.
static void split_key(lua_State *L, nnl_bind *bind, const nnl_tensor *t, nnl_tensor **keys) {
    int count = (int)lua_rawlen(L, 2), kept = 0;
    if (count > t->shape.ndim)
        nnl_error(L, "index: more positions than the %d dimensions of the tensor", t->shape.ndim);
    luaL_checkstack(L, 2 * NNL_MAX_DIMS, "too many positions");
    lua_createtable(L, count, 0);
    int rest = lua_gettop(L);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, 2, i); // stays, as the keys are borrowed
        nnl_tensor *key = nnl_to_tensor(L, bind, -1);
        bool mask = key && key->dtype == NNL_BOOL;
        if (mask) key = positions_of(L, bind, key, t->shape.size[i - 1]);
        if (key || lua_type(L, -1) == LUA_TTABLE) keys[kept++] = key;
        if (key) {
            lua_newtable(L);
        } else {
            lua_pushvalue(L, -1);
        }
        lua_rawseti(L, rest, i);
    }
    lua_pushvalue(L, rest);
    lua_replace(L, 2);
}

static int read_picked(lua_State *L, nnl_bind *bind, nnl_tensor *t, nnl_tensor *const *keys) {
    nnl_index_read(L, bind, t);
    nnl_tensor *part = nnl_check_tensor(L, bind, lua_gettop(L)), **out = nnl_push_slot(L, bind);
    return nnl_fill_slot(L, bind, out, nnl_pick(bind->ctx, part, keys));
}

int nnl_pick_read(lua_State *L, nnl_bind *bind, nnl_tensor *t) {
    nnl_tensor *keys[NNL_MAX_DIMS] = {NULL};
    split_key(L, bind, t, keys);
    return read_picked(L, bind, t, keys);
}

// A new tensor, put on the stack.
static nnl_tensor *keep(lua_State *L, nnl_bind *bind, nnl_tensor *made) {
    nnl_push_tensor(L, bind, made);
    return made;
}

// Writing at positions of all elements in one row: which they are tells the key, read from numbers that count
// them.
int nnl_pick_write(lua_State *L, nnl_bind *bind, nnl_tensor *t) {
    nnl_tensor *keys[NNL_MAX_DIMS] = {NULL};
    nnl_context *ctx = bind->ctx;
    nnl_shape row = {.ndim = 1, .size = {nnl_tensor_numel(t)}};
    if (!nnl_tensor_is_contiguous(t))
        return nnl_error(L,
                         "index: writing at several positions needs a contiguous tensor; use contiguous()");
    split_key(L, bind, t, keys);
    nnl_tensor *numbers = keep(L, bind, nnl_positions_in(ctx, &t->shape));
    read_picked(L, bind, numbers, keys);
    nnl_tensor *at = nnl_check_tensor(L, bind, lua_gettop(L)), *value = nnl_to_tensor(L, bind, 3);
    nnl_shape list = {.ndim = 1, .size = {nnl_tensor_numel(at)}};
    if (value) {
        value = keep(L, bind, nnl_expand(ctx, value, &at->shape));
        keep(L, bind, nnl_reshape(ctx, value, &list));
        lua_replace(L, 3);
    }
    keep(L, bind, nnl_reshape(ctx, at, &list));
    lua_replace(L, 2);
    return nnl_index_write(L, bind, keep(L, bind, nnl_reshape(ctx, t, &row)));
}
