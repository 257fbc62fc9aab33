// convert.c: between Lua's values and tensors: nested tables, numbers, strings of bytes.
#include "bind/bind.h"

#include <string.h>

// Elements after which to look whether the host wants an end.
#define BETWEEN_QUESTIONS 65536

// ---- from nested tables

typedef struct nesting {
    lua_State *L;
    nnl_bind *bind;
    nnl_shape shape;
    nnl_dtype dtype;
    bool inferred; // the dtype follows from the first element, and all must be of its kind
    char *to;      // where the next element goes
    size_t element;
    int64_t at[NNL_MAX_DIMS]; // its position, from 1
} nesting;

// The shape that the first elements tell of, and whether these are booleans.
static void measure(nesting *n, int index, bool *truth) {
    lua_State *L = n->L;
    lua_pushvalue(L, index);
    int pushed = 1;
    while (lua_type(L, -1) == LUA_TTABLE) {
        if (n->shape.ndim == NNL_MAX_DIMS) nnl_error(L, "tensor: more than %d dimensions", NNL_MAX_DIMS);
        int64_t size = (int64_t)lua_rawlen(L, -1);
        n->shape.size[n->shape.ndim++] = size;
        if (size == 0) break;
        luaL_checkstack(L, 2, "nested tables");
        lua_rawgeti(L, -1, 1);
        pushed++;
    }
    *truth = lua_isboolean(L, -1);
    lua_pop(L, pushed);
}

// Pushes where the value that is read stands: "[2][1]" of the table, or "" of the value itself.
static const char *push_path(nesting *n, int depth) {
    luaL_Buffer path;
    luaL_buffinit(n->L, &path);
    for (int d = 0; d < depth; d++) {
        lua_pushfstring(n->L, "[%I]", (LUAI_UACINT)n->at[d]);
        luaL_addvalue(&path);
    }
    luaL_pushresult(&path);
    return lua_tostring(n->L, -1);
}

static void refuse_element(nesting *n) {
    lua_State *L = n->L;
    const char *kind = nnl_type_name(L, n->bind, -1);
    const char *expected = !n->inferred           ? "numbers or booleans"
                           : n->dtype == NNL_BOOL ? "booleans"
                                                  : "numbers";
    if (n->shape.ndim == 0) nnl_error(L, "tensor: expected a number, a boolean or a table, got %s", kind);
    nnl_error(L, "tensor: expected %s, got %s at %s", expected, kind, push_path(n, n->shape.ndim));
}

static void refuse_number(nesting *n) {
    const char *number = luaL_tolstring(n->L, -1, NULL);
    const char *at = n->shape.ndim > 0 ? " at " : "", *path = push_path(n, n->shape.ndim);
    nnl_error(n->L, "tensor: %s%s%s is no number that %s can hold", number, at, path,
              nnl_dtype_get(n->dtype)->name);
}

// The value on top, a number or boolean, as the dtype needs it.
static nnl_number element(nesting *n) {
    lua_State *L = n->L;
    bool truth = lua_isboolean(L, -1), number = lua_type(L, -1) == LUA_TNUMBER;
    bool fits = n->inferred ? (n->dtype == NNL_BOOL ? truth : number) : truth || number;
    if (!fits) refuse_element(n);
    return nnl_check_value(L, n->bind, lua_gettop(L));
}

static void write_element(nesting *n) {
    nnl_number value = element(n);
    if (!nnl_dtype_holds(n->dtype, value)) refuse_number(n);
    nnl_element_write(n->dtype, n->to, value);
}

// One table of the last dimension: the numbers themselves. Those that need no conversion are stored at once.
static void read_numbers(nesting *n, int64_t count) {
    lua_State *L = n->L;
    int64_t *at = &n->at[n->shape.ndim - 1];
    for (*at = 1; *at <= count; ++*at, n->to += n->element) {
        if (*at % BETWEEN_QUESTIONS == 0) nnl_check_interrupted(L, n->bind);
        int type = lua_rawgeti(L, -1, (lua_Integer)*at);
        if (n->dtype == NNL_FLOAT32 && type == LUA_TNUMBER) {
            *(float *)(void *)n->to = (float)lua_tonumber(L, -1);
        } else if (n->dtype == NNL_FLOAT64 && type == LUA_TNUMBER) {
            *(double *)(void *)n->to = lua_tonumber(L, -1);
        } else if (n->dtype == NNL_INT64 && type == LUA_TNUMBER && nnl_lua_is_integer(L, -1)) {
            *(int64_t *)(void *)n->to = lua_tointeger(L, -1);
        } else if (n->dtype == NNL_BOOL && type == LUA_TBOOLEAN) {
            *n->to = lua_toboolean(L, -1) != 0;
        } else {
            write_element(n);
        }
        lua_pop(L, 1);
    }
}

// What stands where a table of as many values as in its sisters should.
static void refuse_table(nesting *n, int dim) {
    lua_State *L = n->L;
    bool table = lua_type(L, -1) == LUA_TTABLE;
    int64_t got = table ? (int64_t)lua_rawlen(L, -1) : 0, expected = n->shape.size[dim];
    const char *kind = nnl_type_name(L, n->bind, -1), *path = push_path(n, dim);
    if (!table)
        nnl_error(L, "tensor: the table is ragged: %s is a %s, where others are tables of %I", path, kind,
                  (LUAI_UACINT)expected);
    nnl_error(L, "tensor: the table is ragged: %s has %I %s, where the first has %I", path, (LUAI_UACINT)got,
              got == 1 ? "value" : "values", (LUAI_UACINT)expected);
}

static void read_table(nesting *n, int dim) {
    lua_State *L = n->L;
    int64_t count = n->shape.size[dim];
    if (lua_type(L, -1) != LUA_TTABLE || (int64_t)lua_rawlen(L, -1) != count) refuse_table(n, dim);
    if (dim == n->shape.ndim - 1) {
        read_numbers(n, count);
        return;
    }
    luaL_checkstack(L, 4, "nested tables");
    for (n->at[dim] = 1; n->at[dim] <= count; n->at[dim]++) {
        lua_rawgeti(L, -1, (lua_Integer)n->at[dim]);
        read_table(n, dim + 1);
        lua_pop(L, 1);
    }
}

// The tensor is in a slot on the stack, on top; borrowed.
nnl_tensor *nnl_tensor_from_lua(lua_State *L, nnl_bind *bind, int index, bool has_dtype, nnl_dtype dtype) {
    nesting n = {.L = L, .bind = bind};
    bool truth;
    index = lua_absindex(L, index);
    measure(&n, index, &truth);
    n.inferred = !has_dtype;
    n.dtype = has_dtype ? dtype : truth ? NNL_BOOL : NNL_FLOAT32;
    nnl_tensor **slot = nnl_push_slot(L, bind);
    nnl_tensor *t = *slot = nnl_tensor_new(bind->ctx, n.dtype, &n.shape);
    if (!t) return nnl_raise(L, bind), NULL;
    n.to = nnl_tensor_data(t);
    n.element = nnl_dtype_size(n.dtype);
    lua_pushvalue(L, index);
    if (n.shape.ndim == 0) {
        write_element(&n);
    } else {
        read_table(&n, 0);
    }
    lua_pop(L, 1);
    return *slot;
}

// nn.tensor(values, {dtype, requires_grad})
static int create_tensor(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    int options = lua_isnoneornil(L, 2) ? 0 : 2;
    bool has_dtype = false, requires_grad = false;
    nnl_dtype dtype = NNL_FLOAT32;
    if (nnl_to_tensor(L, bind, 1)) return nnl_error(L, "tensor: got a tensor already; use clone() or to()");
    if (lua_gettop(L) == 0)
        return nnl_error(L, "tensor: expected a number, a boolean or a table, got no value");
    if (options && lua_type(L, 2) != LUA_TTABLE) return nnl_type_error(L, bind, 2, "table of options");
    nnl_check_options(L, options, "dtype requires_grad");
    nnl_push_option(L, options, "dtype");
    has_dtype = !lua_isnil(L, -1);
    if (has_dtype) dtype = nnl_check_dtype(L, bind, lua_gettop(L));
    requires_grad = nnl_option_bool(L, bind, options, "requires_grad");
    nnl_tensor *t = nnl_tensor_from_lua(L, bind, 1, has_dtype, dtype);
    if (requires_grad && nnl_set_requires_grad(bind->ctx, t, true) != NNL_OK) return nnl_raise(L, bind);
    return 1;
}

// ---- to nested tables

static void push_table(lua_State *L, nnl_bind *bind, const nnl_tensor *t, int dim, int64_t offset) {
    size_t element_size = nnl_dtype_size(t->dtype);
    int64_t count = t->shape.size[dim];
    luaL_checkstack(L, 4, "nested tables");
    lua_createtable(L, count < INT32_MAX ? (int)count : 0, 0);
    for (int64_t i = 0; i < count; i++, offset += t->stride[dim]) {
        if (i % BETWEEN_QUESTIONS == 0) nnl_check_interrupted(L, bind);
        if (dim + 1 < t->shape.ndim) {
            push_table(L, bind, t, dim + 1, offset);
        } else {
            nnl_push_element(L, t->dtype, t->storage->data + (size_t)offset * element_size);
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static int tensor_tolist(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    if (t->shape.ndim == 0) {
        nnl_push_element(L, t->dtype, nnl_tensor_data(t));
    } else {
        push_table(L, bind, t, 0, t->offset);
    }
    return 1;
}

static int tensor_item(lua_State *L) {
    nnl_tensor *t = nnl_check_tensor(L, nnl_bind_of(L), 1);
    char text[NNL_SHAPE_TEXT];
    if (nnl_tensor_numel(t) != 1) {
        return nnl_error(L, "item: expected a tensor of one element, got shape %s; tolist() gives all",
                         nnl_shape_text(&t->shape, text));
    }
    nnl_push_element(L, t->dtype, nnl_tensor_data(t));
    return 1;
}

// ---- bytes

static int tensor_to_bytes(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    *slot = nnl_contiguous(bind->ctx, t);
    if (!*slot) return nnl_raise(L, bind);
    nnl_check_interrupted(L, bind);
    lua_pushlstring(L, nnl_tensor_data(*slot), (size_t)nnl_tensor_numel(t) * nnl_dtype_size(t->dtype));
    return 1;
}

// nn.from_bytes(bytes, shape, dtype)
static int create_from_bytes(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    size_t length;
    if (lua_type(L, 1) != LUA_TSTRING) return nnl_type_error(L, bind, 1, "string of bytes");
    const char *bytes = lua_tolstring(L, 1, &length);
    nnl_shape shape;
    if (lua_type(L, 2) != LUA_TTABLE) return nnl_type_error(L, bind, 2, "table of sizes");
    nnl_check_shape(L, bind, 2, 2, &shape);
    nnl_dtype dtype = lua_isnoneornil(L, 3) ? NNL_FLOAT32 : nnl_check_dtype(L, bind, 3);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    if (nnl_shape_check(bind->ctx, "from_bytes", &shape, nnl_dtype_size(dtype)) != NNL_OK)
        return nnl_raise(L, bind);
    size_t wanted = (size_t)nnl_shape_numel(&shape) * nnl_dtype_size(dtype);
    if (wanted != length) {
        char text[NNL_SHAPE_TEXT];
        return nnl_error(L, "from_bytes: expected %I bytes for shape %s of %s, got %I", (LUAI_UACINT)wanted,
                         nnl_shape_text(&shape, text), nnl_dtype_get(dtype)->name, (LUAI_UACINT)length);
    }
    *slot = nnl_tensor_new(bind->ctx, dtype, &shape);
    if (!*slot) return nnl_raise(L, bind);
    if (length > 0) memcpy(nnl_tensor_data(*slot), bytes, length);
    return 1;
}

static const luaL_Reg methods[] = {
    {"tolist", tensor_tolist}, {"item", tensor_item}, {"to_bytes", tensor_to_bytes}, {NULL, NULL}};

void nnl_open_convert(lua_State *L) {
    lua_getfield(L, NNL_CORE_INDEX, "tensor_methods");
    nnl_set_functions(L, methods);
    nnl_push_function(L, create_tensor, 0);
    lua_setfield(L, NNL_CORE_INDEX, "tensor");
    nnl_push_function(L, create_from_bytes, 0);
    lua_setfield(L, NNL_CORE_INDEX, "from_bytes");
}
