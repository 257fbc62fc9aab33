// check.c: arguments from Lua, and errors in the script's terms.
#include "bind/bind.h"

#include <stdarg.h>
#include <string.h>

// Pushes the place in the script that an error is about: the nearest line that is not in one of our own Lua
// modules.
static void push_place(lua_State *L) {
    lua_Debug frame;
    for (int level = 1; lua_getstack(L, level, &frame); level++) {
        lua_getinfo(L, "Sl", &frame);
        if (frame.currentline <= 0 || strncmp(frame.source, "=nnlua", 6) == 0) continue;
        lua_pushfstring(L, "%s:%d: ", frame.short_src, frame.currentline);
        return;
    }
    lua_pushliteral(L, "");
}

int nnl_raise(lua_State *L, nnl_bind *bind) {
    if (bind->raised) {
        bind->raised = false;
        nnl_lua_get_value(L, lua_upvalueindex(1), NNL_KEPT_ERROR);
        lua_pushnil(L);
        nnl_lua_set_value(L, lua_upvalueindex(1), NNL_KEPT_ERROR);
        return lua_error(L);
    }
    push_place(L);
    lua_pushstring(L, bind->ctx->error);
    lua_concat(L, 2);
    return lua_error(L);
}

int nnl_error(lua_State *L, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    push_place(L);
    lua_pushvfstring(L, format, arguments);
    va_end(arguments);
    lua_concat(L, 2);
    return lua_error(L);
}

const char *nnl_type_name(lua_State *L, const nnl_bind *bind, int index) {
    if (nnl_to_object(L, bind, index, NNL_KEPT_TENSOR)) return "tensor";
    if (nnl_to_object(L, bind, index, NNL_KEPT_LAYER)) return "layer";
    if (nnl_to_object(L, bind, index, NNL_KEPT_OPTIMIZER)) return "optimizer";
    return luaL_typename(L, index);
}

const char *nnl_own_name(lua_State *L) {
    lua_Debug frame = {.name = NULL};
    if (!lua_getstack(L, 0, &frame) || !lua_getinfo(L, "n", &frame)) return NULL;
    return frame.name;
}

// Whether our function that runs was called with a colon: self is not counted among its arguments then.
static bool is_called_as_method(lua_State *L) {
    lua_Debug frame = {.namewhat = NULL};
    return lua_getstack(L, 0, &frame) && lua_getinfo(L, "n", &frame) && strcmp(frame.namewhat, "method") == 0;
}

int nnl_arg_error(lua_State *L, const nnl_bind *bind, int arg, const char *text) {
    const char *name = nnl_own_name(L);
    if (bind->option && arg == bind->option_index)
        return nnl_error(L, "%s%soption '%s': %s", name ? name : "", name ? ": " : "", bind->option, text);
    return nnl_error(L, "bad argument #%d to '%s' (%s)", arg - is_called_as_method(L), name ? name : "?",
                     text);
}

// Whether our function that runs is in the table of methods of tensors; those of nn are functions of their
// own.
static bool is_tensor_method(lua_State *L) {
    lua_Debug frame;
    const char *name = nnl_own_name(L);
    if (!name || !lua_getstack(L, 0, &frame) || !lua_getinfo(L, "f", &frame)) return false;
    nnl_lua_get_value(L, lua_upvalueindex(1), NNL_KEPT_TENSOR);
    lua_getfield(L, -1, "__index");
    if (!lua_getupvalue(L, -1, 2)) lua_newtable(L);
    lua_getfield(L, -1, name);
    bool found = lua_rawequal(L, -1, -5);
    lua_pop(L, 5);
    return found;
}

// What stands where a method has its tensor; t.sum() instead of t:sum() is the usual reason.
void nnl_self_error(lua_State *L, const nnl_bind *bind) {
    if (!is_tensor_method(L) || is_called_as_method(L)) nnl_type_error(L, bind, 1, "tensor");
    const char *name = nnl_own_name(L);
    nnl_error(L,
              "%s: expected a tensor in front, got %s; call methods with a colon: t:%s(...), not t.%s(...)",
              name, nnl_type_name(L, bind, 1), name, name);
}

int nnl_type_error(lua_State *L, const nnl_bind *bind, int arg, const char *expected) {
    return nnl_arg_error(L, bind, arg,
                         lua_pushfstring(L, "%s expected, got %s", expected, nnl_type_name(L, bind, arg)));
}

nnl_number nnl_check_number(lua_State *L, const nnl_bind *bind, int arg) {
    if (lua_type(L, arg) != LUA_TNUMBER) nnl_type_error(L, bind, arg, "number");
    if (nnl_lua_is_integer(L, arg)) return nnl_number_int(lua_tointeger(L, arg));
    return nnl_number_float(lua_tonumber(L, arg));
}

void nnl_check_holds(lua_State *L, nnl_dtype dtype, nnl_number value) {
    if (nnl_dtype_holds(dtype, value)) return;
    const char *name = nnl_own_name(L), *type = nnl_dtype_get(dtype)->name;
    if (!name) name = "tensor";
    if (strcmp(name, "newindex") == 0 || strcmp(name, "__newindex") == 0) name = "assignment";
    if (value.is_int) {
        lua_pushinteger(L, (lua_Integer)value.i);
    } else {
        lua_pushnumber(L, value.d);
    }
    const char *text = luaL_tolstring(L, -1, NULL);
    nnl_error(L, "%s: %s is no number that %s can hold", name, text, type);
}

nnl_number nnl_check_value(lua_State *L, const nnl_bind *bind, int arg) {
    return lua_isboolean(L, arg) ? nnl_number_bool(lua_toboolean(L, arg)) : nnl_check_number(L, bind, arg);
}

int64_t nnl_check_integer(lua_State *L, const nnl_bind *bind, int arg) {
    int64_t value = 0;
    if (nnl_lua_to_integer(L, arg, &value)) return value;
    if (lua_type(L, arg) == LUA_TNUMBER)
        nnl_arg_error(L, bind, arg, "integer expected, got a number with a fraction");
    nnl_type_error(L, bind, arg, "integer");
    return 0;
}

nnl_dtype nnl_check_dtype(lua_State *L, const nnl_bind *bind, int arg) {
    nnl_dtype dtype = NNL_FLOAT32;
    if (lua_type(L, arg) != LUA_TSTRING) nnl_type_error(L, bind, arg, "dtype name");
    const char *name = lua_tostring(L, arg), *names = "float32, float64, int64, int32, uint8, bool, "
                                                      "bfloat16, float16";
    if (!nnl_dtype_named(name, &dtype)) {
        nnl_arg_error(L, bind, arg,
                      lua_pushfstring(L, "unknown dtype '%s'; there are %s%s", name, names,
                                      nnl_hint_of_words(L, name, names)));
    }
    return dtype;
}

int nnl_check_dim(lua_State *L, const nnl_bind *bind, int arg, int ndim) {
    int64_t dim = nnl_check_integer(L, bind, arg);
    int most = ndim > 0 ? ndim : 1;
    if (dim == 0 || dim > most || dim < -most) {
        nnl_arg_error(L, bind, arg,
                      lua_pushfstring(L, "dimension %I is not within 1 to %d, or -%d to -1", (LUAI_UACINT)dim,
                                      most, most));
    }
    return (int)(dim > 0 ? dim - 1 : dim + most);
}

static int64_t item_integer(lua_State *L, const nnl_bind *bind, int arg, int64_t i) {
    int64_t value = 0;
    lua_rawgeti(L, arg, (lua_Integer)i);
    if (!nnl_lua_to_integer(L, -1, &value)) {
        nnl_arg_error(L, bind, arg,
                      lua_pushfstring(L, "integer expected at position %d, got %s", (int)i,
                                      nnl_type_name(L, bind, -1)));
    }
    lua_pop(L, 1);
    return value;
}

void nnl_check_shape(lua_State *L, const nnl_bind *bind, int arg, int last, nnl_shape *shape) {
    bool table = lua_type(L, arg) == LUA_TTABLE;
    int64_t count = table ? (int64_t)lua_rawlen(L, arg) : last - arg + 1;
    if (count > NNL_MAX_DIMS) {
        nnl_arg_error(L, bind, arg,
                      lua_pushfstring(L, "at most %d dimensions, got %d", NNL_MAX_DIMS, (int)count));
    }
    shape->ndim = (int)(count > 0 ? count : 0);
    for (int d = 0; d < shape->ndim; d++) {
        shape->size[d] = table ? item_integer(L, bind, arg, d + 1) : nnl_check_integer(L, bind, arg + d);
    }
}

nnl_tensor_list nnl_check_tensors(lua_State *L, const nnl_bind *bind, int arg) {
    if (nnl_to_tensor(L, bind, arg))
        nnl_arg_error(L, bind, arg, "list of tensors expected, got tensor; put them in braces: {a, b}");
    if (lua_type(L, arg) != LUA_TTABLE) nnl_type_error(L, bind, arg, "list of tensors");
    nnl_tensor_list list = {.count = (size_t)lua_rawlen(L, arg)};
    list.items = nnl_lua_new_userdata(L, (list.count + 1) * sizeof *list.items, 0);
    for (size_t i = 0; i < list.count; i++) {
        lua_rawgeti(L, arg, (lua_Integer)i + 1);
        list.items[i] = nnl_to_tensor(L, bind, -1);
        if (!list.items[i]) {
            nnl_arg_error(L, bind, arg,
                          lua_pushfstring(L, "tensor expected at position %d, got %s", (int)i + 1,
                                          nnl_type_name(L, bind, -1)));
        }
        lua_pop(L, 1);
    }
    return list;
}

static nnl_int_list new_integers(lua_State *L, size_t count) {
    return (nnl_int_list){nnl_lua_new_userdata(L, (count + 1) * sizeof(int64_t), 0), count};
}

static nnl_int_list tensor_integers(lua_State *L, const nnl_bind *bind, int arg, const nnl_tensor *t) {
    if (nnl_dtype_get(t->dtype)->kind != NNL_KIND_INT || t->shape.ndim > 1) {
        nnl_arg_error(L, bind, arg, "a tensor of integers must have at most one dimension and an int dtype");
    }
    nnl_int_list list = new_integers(L, (size_t)nnl_tensor_numel(t));
    int64_t step = t->shape.ndim > 0 ? t->stride[0] * (int64_t)nnl_dtype_size(t->dtype) : 0;
    for (size_t i = 0; i < list.count; i++) {
        list.items[i] = nnl_element_read(t->dtype, (const char *)nnl_tensor_data(t) + (int64_t)i * step).i;
    }
    return list;
}

nnl_int_list nnl_check_integers(lua_State *L, const nnl_bind *bind, int arg) {
    const nnl_tensor *t = nnl_to_tensor(L, bind, arg);
    if (t) return tensor_integers(L, bind, arg, t);
    bool number = lua_type(L, arg) == LUA_TNUMBER;
    if (!number && lua_type(L, arg) != LUA_TTABLE)
        nnl_type_error(L, bind, arg, "integer or list of integers");
    nnl_int_list list = new_integers(L, number ? 1 : (size_t)lua_rawlen(L, arg));
    for (size_t i = 0; i < list.count; i++) {
        list.items[i] = number ? nnl_check_integer(L, bind, arg) : item_integer(L, bind, arg, (int64_t)i + 1);
    }
    return list;
}

int nnl_last_argument(lua_State *L) {
    int last = lua_gettop(L);
    while (last > 0 && lua_isnil(L, last)) last--;
    return last;
}

bool nnl_is_empty_table(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TTABLE) return false;
    int table = lua_absindex(L, index);
    lua_pushnil(L);
    if (!lua_next(L, table)) return true;
    lua_pop(L, 2);
    return false;
}

bool nnl_is_options(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TTABLE || lua_rawlen(L, index) > 0) return false;
    int table = lua_absindex(L, index);
    lua_pushnil(L);
    if (!lua_next(L, table)) return false; // {} is an empty list
    bool named = lua_type(L, -2) == LUA_TSTRING;
    lua_pop(L, 2);
    return named;
}

void nnl_push_option(lua_State *L, int table, const char *name) {
    nnl_bind *bind = lua_touserdata(L, lua_upvalueindex(1));
    if (table == 0) {
        lua_pushnil(L);
    } else {
        lua_getfield(L, table, name);
    }
    bind->option = name;
    bind->option_index = lua_gettop(L);
}

bool nnl_option_bool(lua_State *L, const nnl_bind *bind, int table, const char *name) {
    nnl_push_option(L, table, name);
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1)) nnl_type_error(L, bind, lua_gettop(L), "boolean");
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static bool is_word_of(const char *word, const char *words) {
    size_t length = strlen(word);
    for (const char *found = words; (found = strstr(found, word)) != NULL; found += length) {
        bool starts = found == words || found[-1] == ' ';
        if (starts && (found[length] == ' ' || found[length] == '\0')) return length > 0;
    }
    return false;
}

void nnl_check_options(lua_State *L, int table, const char *allowed) {
    if (table == 0) return;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        bool known = lua_type(L, -2) == LUA_TSTRING && is_word_of(lua_tostring(L, -2), allowed);
        if (!known) {
            const char *name = nnl_own_name(L);
            const char *key = luaL_tolstring(L, -2, NULL);
            nnl_error(L, "%s%sunknown option '%s'; allowed: %s%s", name ? name : "", name ? ": " : "", key,
                      allowed, nnl_hint_of_words(L, key, allowed));
        }
        lua_pop(L, 1);
    }
}
