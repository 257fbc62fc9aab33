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

// What a key speaks of, while it is read.
typedef struct reading {
    nnl_region region;
    int used; // dimensions of the tensor that the key has spoken of
} reading;

// The next dimension, of which `size` positions stay.
static void keep_dim(reading *r, int64_t size, int64_t start, int64_t step) {
    nnl_region *region = &r->region;
    int kept = region->shape.ndim++, dim = r->used++;
    region->shape.size[kept] = size;
    region->dim[kept] = dim;
    region->step[kept] = step;
    region->start[dim] = start;
}

// {}: all; {from, to}; {from, to, step}
static void add_range(lua_State *L, const nnl_bind *bind, const nnl_tensor *t, reading *r, int item) {
    int dim = r->used;
    int64_t size = t->shape.size[dim], bound[3] = {1, size, 1};
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
        keep_dim(r, size, 0, 1);
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
    keep_dim(r, length, length > 0 ? from - 1 : 0, bound[2]);
}

static void add_item(lua_State *L, const nnl_bind *bind, const nnl_tensor *t, reading *r, int item) {
    int64_t asked = 0;
    if (r->used >= t->shape.ndim) {
        nnl_error(L, "index: more positions than the %d dimensions of the tensor", t->shape.ndim);
    }
    if (lua_type(L, item) == LUA_TTABLE) {
        add_range(L, bind, t, r, item);
    } else if (nnl_lua_to_integer(L, item, &asked)) {
        int dim = r->used++;
        r->region.start[dim] = position(L, asked, t->shape.size[dim], dim);
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

static nnl_region region_of(lua_State *L, const nnl_bind *bind, const nnl_tensor *t) {
    reading r;
    r.used = r.region.shape.ndim = 0;
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
    while (r.used < t->shape.ndim) keep_dim(&r, t->shape.size[r.used], 0, 1);
    return r.region;
}

static void *element_at(const nnl_tensor *t, const nnl_region *r) {
    int64_t offset = t->offset;
    for (int d = 0; d < t->shape.ndim; d++) offset += r->start[d] * t->stride[d];
    return t->storage->data + (size_t)offset * nnl_dtype_size(t->dtype);
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
        return nnl_fill_slot(L, bind, out, nnl_index_get(bind->ctx, t, key));
    }
    if (lua_isnoneornil(L, 2)) return nnl_error(L, "index: expected a position, got nil");
    if (lua_type(L, 2) == LUA_TTABLE && nnl_key_has_tensor(L, bind)) return nnl_pick_read(L, bind, t);
    nnl_region r = region_of(L, bind, t);
    if (r.shape.ndim == 0 && t->shape.ndim > 0) {
        nnl_push_element(L, t->dtype, element_at(t, &r));
        return 1;
    }
    nnl_tensor **slot = nnl_push_slot(L, bind);
    return nnl_fill_slot(L, bind, slot, nnl_region_view(bind->ctx, t, &r));
}

// ---- writing

static bool is_in_graph(const nnl_tensor *t) {
    return nnl_requires_grad(t) || (t->base && nnl_requires_grad(t->base));
}

// One element outside of the graph takes a number at once. Without a region the key is read here, where it is
// one position of a vector.
static bool write_element(lua_State *L, nnl_bind *bind, nnl_tensor *t, const nnl_region *r) {
    if (lua_type(L, 3) != LUA_TNUMBER || is_in_graph(t) || (r && r->shape.ndim > 0)) return false;
    void *element = r ? element_at(t, r) : vector_element(L, t);
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
    nnl_region r;
    if (!key) {
        r = region_of(L, bind, t);
        if (write_element(L, bind, t, &r)) return 0;
    }
    nnl_tensor *value = value_tensor(L, bind, t);
    nnl_status status = key ? nnl_index_put(bind->ctx, t, key, value) : nnl_assign(bind->ctx, t, &r, value);
    return status == NNL_OK ? 0 : nnl_raise(L, bind);
}
