// index.c: t[key] and t[key] = value. A key is a position, a list of positions and ranges, positions as a
// tensor, or a mask. Positions count from 1, negative ones from the end, and ranges include their ends.
#include "bind/bind.h"

#include <string.h>

void nnl_push_element(lua_State *L, nnl_dtype dtype, const void *memory) {
    nnl_number value = nnl_element_read(dtype, memory);
    if (dtype == NNL_BOOL) {
        lua_pushboolean(L, value.i != 0);
    } else if (value.is_int) {
        lua_pushinteger(L, (lua_Integer)value.i);
    } else {
        lua_pushnumber(L, value.d);
    }
}

// A position within 1 to size, from 0; raises otherwise.
static int64_t position(lua_State *L, int64_t asked, int64_t size, int dim) {
    int64_t at = asked > 0 ? asked - 1 : asked + size;
    if (asked == 0 || at < 0 || at >= size) {
        nnl_error(L, "index %I is out of range: dimension %d has positions 1 to %I", (LUAI_UACINT)asked,
                  dim + 1, (LUAI_UACINT)size);
    }
    return at;
}

// What is made of a tensor by positions and ranges: a view without a place in the graph.
typedef struct region {
    nnl_shape shape;
    int64_t stride[NNL_MAX_DIMS];
    int64_t offset;
    int used; // dimensions of the tensor that the key has spoken of
} region;

static void keep_dim(region *r, int64_t size, int64_t stride) {
    r->stride[r->shape.ndim] = stride;
    r->shape.size[r->shape.ndim++] = size;
}

// {}: all; {from, to}; {from, to, step}
static void add_range(lua_State *L, const nnl_bind *bind, const nnl_tensor *t, region *r, int item) {
    int dim = r->used++;
    int64_t size = t->shape.size[dim], stride = t->stride[dim], bound[3] = {1, size, 1};
    int count = (int)lua_rawlen(L, item);
    if (count == 1 || count > 3)
        nnl_error(L, "index: a range is {from, to} or {from, to, step}, or {} for all");
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, item, i + 1);
        if (!nnl_lua_to_integer(L, -1, &bound[i])) {
            nnl_error(L, "index: a range is of integers, got %s", nnl_type_name(L, bind, -1));
        }
        lua_pop(L, 1);
    }
    if (count == 0) {
        keep_dim(r, size, stride);
        return;
    }
    int64_t from = bound[0] < 0 ? bound[0] + size + 1 : bound[0],
            to = bound[1] < 0 ? bound[1] + size + 1 : bound[1];
    if (bound[2] < 1)
        nnl_error(L, "index: the step of a range must be 1 or more, got %I%s", (LUAI_UACINT)bound[2],
                  bound[2] < 0 ? "; flip(dim) turns a dimension round" : "");
    if (from < 1 || to > size || from > to + 1) {
        nnl_error(L, "index: the range from %I to %I is not within dimension %d, which has positions 1 to %I",
                  (LUAI_UACINT)bound[0], (LUAI_UACINT)bound[1], dim + 1, (LUAI_UACINT)size);
    }
    int64_t length = to < from ? 0 : (to - from) / bound[2] + 1;
    if (length > 0) r->offset += (from - 1) * stride;
    keep_dim(r, length, stride * bound[2]);
}

static void add_item(lua_State *L, const nnl_bind *bind, const nnl_tensor *t, region *r, int item) {
    int64_t asked = 0;
    if (r->used >= t->shape.ndim) {
        nnl_error(L, "index: more positions than the %d dimensions of the tensor", t->shape.ndim);
    }
    if (lua_type(L, item) == LUA_TTABLE) {
        add_range(L, bind, t, r, item);
    } else if (nnl_lua_to_integer(L, item, &asked)) {
        int dim = r->used++;
        r->offset += position(L, asked, t->shape.size[dim], dim) * t->stride[dim];
    } else {
        bool number = lua_type(L, item) == LUA_TNUMBER;
        nnl_error(L, "index: expected an integer, a range {from, to} or {}, got %s",
                  number ? luaL_tolstring(L, item, NULL) : nnl_type_name(L, bind, item));
    }
}

// A key such as {dim = 1} speaks of no position.
static void refuse_names(lua_State *L, int key) {
    if (nnl_is_empty_table(L, key)) return;
    nnl_error(L, "index: expected a list of positions and ranges, got a table with names");
}

static region region_of(lua_State *L, const nnl_bind *bind, const nnl_tensor *t) {
    region r = {.offset = t->offset};
    if (lua_type(L, 2) == LUA_TTABLE) {
        int count = (int)lua_rawlen(L, 2);
        if (count == 0) refuse_names(L, 2);
        for (int i = 1; i <= count; i++) {
            lua_rawgeti(L, 2, i);
            add_item(L, bind, t, &r, lua_gettop(L));
            lua_pop(L, 1);
        }
    } else {
        add_item(L, bind, t, &r, 2);
    }
    while (r.used < t->shape.ndim) {
        keep_dim(&r, t->shape.size[r.used], t->stride[r.used]);
        r.used++;
    }
    return r;
}

// ---- reading

// Positions of any shape along the first dimension: their slices, in that shape.
static nnl_tensor *slices_at(nnl_context *ctx, nnl_tensor *t, nnl_tensor *at) {
    nnl_shape flat = {.ndim = 1, .size = {nnl_tensor_numel(at)}}, shape = at->shape;
    if (t->shape.ndim == 0 || shape.ndim + t->shape.ndim - 1 > NNL_MAX_DIMS) {
        return nnl_fail_null(ctx, NNL_ERR_SHAPE, "index: too many or no dimensions");
    }
    for (int d = 1; d < t->shape.ndim; d++) shape.size[shape.ndim++] = t->shape.size[d];
    nnl_tensor *list = nnl_reshape(ctx, at, &flat), *rows = list ? nnl_index_select(ctx, t, 0, list) : NULL;
    nnl_tensor *out = rows ? nnl_reshape(ctx, rows, &shape) : NULL;
    nnl_tensor_release(list);
    nnl_tensor_release(rows);
    return out;
}

static nnl_status check_mask(nnl_context *ctx, const nnl_tensor *t, const nnl_tensor *mask) {
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    bool fits = mask->shape.ndim <= t->shape.ndim && mask->shape.ndim > 0;
    for (int d = 0; fits && d < mask->shape.ndim; d++) fits = mask->shape.size[d] == t->shape.size[d];
    if (fits) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "index: a mask of shape %s does not fit a tensor of shape %s",
                    nnl_shape_text(&mask->shape, a), nnl_shape_text(&t->shape, b));
}

// The dimensions of the mask as one, and its positions in it.
static nnl_tensor *slices_where(nnl_context *ctx, nnl_tensor *t, nnl_tensor *mask) {
    if (check_mask(ctx, t, mask) != NNL_OK) return NULL;
    nnl_shape flat = {.ndim = 1, .size = {nnl_tensor_numel(mask)}};
    for (int d = mask->shape.ndim; d < t->shape.ndim; d++) flat.size[flat.ndim++] = t->shape.size[d];
    nnl_tensor *at = nnl_true_positions(ctx, mask), *rows = at ? nnl_reshape(ctx, t, &flat) : NULL;
    nnl_tensor *out = rows ? nnl_index_select(ctx, rows, 0, at) : NULL;
    nnl_tensor_release(at);
    nnl_tensor_release(rows);
    return out;
}

// Whether Lua's ipairs asks for what comes after the last row: nil is how it knows that this was all.
static bool is_end_of_ipairs(lua_State *L, const nnl_tensor *t) {
    lua_Debug frame;
    int64_t asked = 0;
    bool after = t->shape.ndim > 0 && nnl_lua_to_integer(L, 2, &asked) && asked == t->shape.size[0] + 1;
    if (!after || !lua_getstack(L, 1, &frame) || !lua_getinfo(L, "Sn", &frame)) return false;
    return strcmp(frame.what, "C") == 0 && frame.name && strcmp(frame.name, "for iterator") == 0;
}

// t[i] = number or boolean of one dimension, read or written without more ado; NULL for all other keys.
static void *vector_element(lua_State *L, const nnl_tensor *t) {
    int64_t asked;
    if (t->shape.ndim != 1 || !nnl_lua_to_integer(L, 2, &asked)) return NULL;
    int64_t offset = t->offset + position(L, asked, t->shape.size[0], 0) * t->stride[0];
    return t->storage->data + (size_t)offset * nnl_dtype_size(t->dtype);
}

int nnl_index_read(lua_State *L, nnl_bind *bind, nnl_tensor *t) {
    if (is_end_of_ipairs(L, t)) {
        lua_pushnil(L);
        return 1;
    }
    const void *element = vector_element(L, t);
    if (element) {
        nnl_push_element(L, t->dtype, element);
        return 1;
    }
    nnl_tensor *key = nnl_to_tensor(L, bind, 2);
    if (key) {
        nnl_tensor **out = nnl_push_slot(L, bind);
        bool mask = key->dtype == NNL_BOOL;
        return nnl_fill_slot(L, bind, out,
                             mask ? slices_where(bind->ctx, t, key) : slices_at(bind->ctx, t, key));
    }
    if (lua_isnoneornil(L, 2)) return nnl_error(L, "index: expected a position, got nil");
    if (lua_type(L, 2) == LUA_TTABLE && nnl_key_has_tensor(L, bind)) return nnl_pick_read(L, bind, t);
    bool recorded = nnl_grad_wanted(bind->ctx, &t, 1);
    if (recorded && !nnl_tensor_is_contiguous(t)) {
        nnl_tensor **whole = nnl_push_slot(L, bind);
        nnl_fill_slot(L, bind, whole, nnl_contiguous(bind->ctx, t));
        t = *whole;
    }
    region r = region_of(L, bind, t);
    if (r.shape.ndim == 0 && t->shape.ndim > 0) {
        nnl_push_element(L, t->dtype, t->storage->data + (size_t)r.offset * nnl_dtype_size(t->dtype));
        return 1;
    }
    nnl_tensor **slot = nnl_push_slot(L, bind);
    *slot = recorded ? nnl_strided_view(bind->ctx, t, &r.shape, r.stride, r.offset)
                     : nnl_tensor_alias(t, &r.shape, r.stride, r.offset);
    return *slot ? 1 : nnl_raise(L, bind);
}

// ---- writing

// t[mask] = value: a number or a tensor that broadcasts.
static nnl_status write_where(nnl_context *ctx, nnl_tensor *t, nnl_tensor *mask, nnl_tensor *value) {
    if (check_mask(ctx, t, mask) != NNL_OK) return ctx->status;
    nnl_shape wide = mask->shape;
    for (int d = mask->shape.ndim; d < t->shape.ndim; d++) wide.size[wide.ndim++] = 1;
    int64_t count = 0;
    nnl_tensor *at = nnl_true_positions(ctx, mask);
    if (!at) return ctx->status;
    count = nnl_tensor_numel(at);
    bool listed = value->shape.ndim >= 1 && value->shape.size[0] == count && count != 1;
    nnl_status status = NNL_OK;
    if (listed) {
        nnl_shape flat = {.ndim = 1, .size = {nnl_tensor_numel(mask)}};
        for (int d = mask->shape.ndim; d < t->shape.ndim; d++) flat.size[flat.ndim++] = t->shape.size[d];
        status = nnl_index_put(ctx, t, &flat, at, value);
    } else {
        nnl_tensor *condition = nnl_reshape(ctx, mask, &wide),
                   *same = condition ? nnl_to(ctx, value, t->dtype) : NULL;
        nnl_tensor *result = same ? nnl_where(ctx, condition, same, t) : NULL;
        if (result && !nnl_shape_equal(&result->shape, &t->shape)) {
            status = nnl_fail(ctx, NNL_ERR_SHAPE,
                              "index: the value does not broadcast to the tensor under the mask");
        } else {
            status = result ? nnl_replace(ctx, t, result) : ctx->status;
        }
        nnl_tensor_release(condition);
        nnl_tensor_release(same);
        nnl_tensor_release(result);
    }
    nnl_tensor_release(at);
    return status;
}

static nnl_status write_at(nnl_context *ctx, nnl_tensor *t, nnl_tensor *at, nnl_tensor *value) {
    nnl_shape flat = {.ndim = 1, .size = {nnl_tensor_numel(at)}};
    nnl_tensor *list = nnl_reshape(ctx, at, &flat);
    nnl_status status = list ? nnl_index_put(ctx, t, &t->shape, list, value) : ctx->status;
    nnl_tensor_release(list);
    return status;
}

static nnl_status write_region(nnl_context *ctx, nnl_tensor *t, const region *r, nnl_tensor *value) {
    nnl_tensor *part = nnl_tensor_alias(t, &r->shape, r->stride, r->offset);
    nnl_status status = part ? nnl_assign(ctx, t, part, value) : ctx->status;
    nnl_tensor_release(part);
    return status;
}

// One element that nothing else looks at takes a number at once.
static bool write_element(lua_State *L, nnl_bind *bind, nnl_tensor *t, const region *r) {
    bool plain = lua_type(L, 3) == LUA_TNUMBER && !nnl_requires_grad(t) && (!r || r->shape.ndim == 0);
    if (!plain) return false;
    void *element =
        r ? t->storage->data + (size_t)r->offset * nnl_dtype_size(t->dtype) : vector_element(L, t);
    if (!element) return false;
    nnl_number value = nnl_check_number(L, bind, 3);
    nnl_check_holds(L, t->dtype, value);
    nnl_element_write(t->dtype, element, value);
    nnl_tensor_changed(t);
    return true;
}

// The value to write as a tensor; a number or boolean becomes one. It stays on the stack.
static nnl_tensor *value_tensor(lua_State *L, nnl_bind *bind, const nnl_tensor *t) {
    nnl_tensor *value = nnl_to_tensor(L, bind, 3);
    if (value) return value;
    bool truth = lua_isboolean(L, 3);
    if (!truth && lua_type(L, 3) != LUA_TNUMBER) {
        nnl_error(L, "assignment: expected a number or a tensor, got %s", nnl_type_name(L, bind, 3));
    }
    nnl_number number = nnl_check_value(L, bind, 3);
    nnl_check_holds(L, t->dtype, number);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    *slot = nnl_tensor_new(bind->ctx, t->dtype, &(nnl_shape){.ndim = 0});
    if (!*slot) nnl_raise(L, bind);
    nnl_apply_fill(*slot, number);
    return *slot;
}

int nnl_index_write(lua_State *L, nnl_bind *bind, nnl_tensor *t) {
    if (write_element(L, bind, t, NULL)) return 0;
    if (lua_type(L, 2) == LUA_TTABLE && nnl_key_has_tensor(L, bind)) return nnl_pick_write(L, bind, t);
    nnl_tensor *key = nnl_to_tensor(L, bind, 2);
    region r = {.offset = 0};
    if (!key) {
        r = region_of(L, bind, t);
        if (write_element(L, bind, t, &r)) return 0;
    }
    nnl_tensor *value = value_tensor(L, bind, t);
    nnl_status status = !key                     ? write_region(bind->ctx, t, &r, value)
                        : key->dtype == NNL_BOOL ? write_where(bind->ctx, t, key, value)
                                                 : write_at(bind->ctx, t, key, value);
    return status == NNL_OK ? 0 : nnl_raise(L, bind);
}
