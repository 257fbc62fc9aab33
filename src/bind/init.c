// init.c: nn.init: every initialiser of nn/init.h as a function on a tensor, and the gains.
#include "nn/init.h"
#include "bind/options.h"

#include <stdio.h>
#include <string.h>

// nn.init.NAME_(tensor, ..., options): returns the tensor. Upvalue 2: the record.
static int initialize(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_initializer *initializer = lua_touserdata(L, lua_upvalueindex(2));
    nnl_option_value values[NNL_INIT_OPTIONS];
    char who[NNL_WHO_ROOM];
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    snprintf(who, sizeof who, "nn.init.%s_", initializer->name);
    for (int k = 0; initializer->options[k].type != NNL_OPTION_END; k++) {
        nnl_option_default(&initializer->options[k], &values[k]);
    }
    nnl_reading reading = {L, bind, who, initializer->options, values, NULL};
    nnl_read_arguments(&reading, 2);
    if (nnl_initialize(bind->ctx, initializer, t, values) != NNL_OK) return nnl_raise(L, bind);
    lua_settop(L, 1);
    return 1;
}

// nn.init.calculate_gain(nonlinearity[, negative_slope])
static int calculate_gain(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    double slope = luaL_optnumber(L, 2, 0.01), gain = nnl_init_gain(name, slope);
    if (gain < 0) return nnl_error(L, "nn.init.calculate_gain: no gain is known for '%s'", name);
    lua_pushnumber(L, gain);
    return 1;
}

void nnl_open_init(lua_State *L) {
    lua_newtable(L);
    for (const nnl_initializer *it = nnl_initializers; it->name; it++) {
        lua_pushfstring(L, "%s_", it->name);
        lua_pushlightuserdata(L, (void *)it);
        nnl_push_function(L, initialize, 1);
        lua_rawset(L, -3);
    }
    nnl_push_function(L, calculate_gain, 0);
    lua_setfield(L, -2, "calculate_gain");
    lua_setfield(L, NNL_CORE_INDEX, "init");
}
