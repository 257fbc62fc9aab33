// print.c: tensors as text, and how a script wants them.
#include "bind/bind.h"

#include <math.h>
#include <string.h>

static void add_text(void *buffer, const char *text, size_t length) { luaL_addlstring(buffer, text, length); }

static int tensor_tostring(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    nnl_print_options options = bind->print;
    luaL_Buffer buffer;
    options.suffix = nnl_requires_grad(t) ? (nnl_is_leaf(t) ? ", requires_grad" : ", in the graph") : "";
    luaL_buffinit(L, &buffer);
    if (nnl_tensor_format(bind->ctx, t, &options, add_text, &buffer) != NNL_OK) return nnl_raise(L, bind);
    luaL_pushresult(&buffer);
    return 1;
}

// An integer option, infinity standing for the highest; the present value where it is not given.
static int64_t integer_option(lua_State *L, nnl_bind *bind, const char *name, int64_t low, int64_t high,
                              int64_t present) {
    int64_t value = present;
    lua_getfield(L, 1, name);
    bool infinite = lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) == HUGE_VAL;
    bool whole = infinite || lua_isnil(L, -1) || nnl_lua_to_integer(L, -1, &value);
    if (infinite) value = high;
    if (whole && value >= low && value <= high) {
        lua_pop(L, 1);
        return value;
    }
    bool number = lua_type(L, -1) == LUA_TNUMBER;
    const char *got = number ? luaL_tolstring(L, -1, NULL) : nnl_type_name(L, bind, -1);
    if (high >= INT32_MAX)
        return nnl_error(L, "set_print_options: %s must be an integer from %I on, got %s", name,
                         (LUAI_UACINT)low, got);
    return nnl_error(L, "set_print_options: %s must be an integer from %I to %I, got %s", name,
                     (LUAI_UACINT)low, (LUAI_UACINT)high, got);
}

// A named set takes the place of all that was; true where one is given.
static bool profile_option(lua_State *L, nnl_print_options *options) {
    lua_getfield(L, 1, "profile");
    bool given = !lua_isnil(L, -1);
    if (given && (lua_type(L, -1) != LUA_TSTRING || !nnl_print_profile(lua_tostring(L, -1), options)))
        nnl_error(L, "set_print_options: profile must be \"default\", \"short\" or \"full\", got %s",
                  luaL_tolstring(L, -1, NULL));
    lua_pop(L, 1);
    return given;
}

// nil: where it is needed; true: always; false: never.
static nnl_notation notation_option(lua_State *L, nnl_notation present) {
    lua_getfield(L, 1, "sci_mode");
    bool given = !lua_isnil(L, -1), automatic = lua_type(L, -1) == LUA_TSTRING, always = lua_toboolean(L, -1);
    if (given && !lua_isboolean(L, -1) && !(automatic && strcmp(lua_tostring(L, -1), "auto") == 0))
        nnl_error(L, "set_print_options: sci_mode must be true, false or \"auto\"");
    lua_pop(L, 1);
    if (!given) return present;
    if (automatic) return NNL_NOTATION_AUTO;
    return always ? NNL_NOTATION_SCIENTIFIC : NNL_NOTATION_FIXED;
}

// nn.set_print_options{profile, precision, threshold, edgeitems, linewidth, sci_mode}: what is not named
// stays as it is, or is the profile's; without a table all is as at the beginning.
static int set_print_options(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_print_options options = nnl_print_defaults();
    if (!lua_isnoneornil(L, 1)) {
        if (lua_type(L, 1) != LUA_TTABLE) return nnl_type_error(L, bind, 1, "table of options");
        nnl_check_options(L, 1, "profile precision threshold edgeitems linewidth sci_mode");
        if (!profile_option(L, &options)) options = bind->print;
        options.precision =
            (int)integer_option(L, bind, "precision", 0, NNL_PRINT_PRECISION, options.precision);
        options.threshold = integer_option(L, bind, "threshold", 0, INT64_MAX, options.threshold);
        options.edge_items = integer_option(L, bind, "edgeitems", 1, INT32_MAX, options.edge_items);
        options.line_width = integer_option(L, bind, "linewidth", 1, INT32_MAX, options.line_width);
        options.notation = notation_option(L, options.notation);
    }
    bind->print = options;
    return 0;
}

static const luaL_Reg functions[] = {{"set_print_options", set_print_options}, {NULL, NULL}};

void nnl_open_print(lua_State *L) {
    nnl_bind *bind = lua_touserdata(L, NNL_BIND_INDEX);
    bind->print = nnl_print_defaults();
    lua_pushvalue(L, NNL_CORE_INDEX);
    nnl_set_functions(L, functions);
    lua_getfield(L, NNL_CORE_INDEX, "tensor_metatable");
    nnl_push_function(L, tensor_tostring, 0);
    lua_setfield(L, -2, "__tostring");
}
