// optim.c: optimizers as userdata: constructors, steps, groups of parameters with their options. Saving their
// state is in optim_state.c.
#include "bind/optim.h"

#include <stdio.h>
#include <string.h>

nnl_optimizer *nnl_check_optimizer(lua_State *L, const nnl_bind *bind, int arg) {
    nnl_optimizer *optimizer = nnl_to_object(L, bind, arg, NNL_KEPT_OPTIMIZER);
    if (!optimizer) nnl_type_error(L, bind, arg, "optimizer");
    return optimizer;
}

const char *nnl_optimizer_who(const nnl_optimizer *optimizer, char who[NNL_WHO_ROOM]) {
    snprintf(who, NNL_WHO_ROOM, "nn.optim.%s", optimizer->class->name);
    return who;
}

// ---- options of groups

void nnl_push_group_options(lua_State *L, const nnl_optimizer *optimizer, const nnl_param_group *group) {
    const nnl_option *option = optimizer->class->options;
    lua_newtable(L);
    for (int k = 0; k < NNL_MAX_OPTIONS && option[k].type != NNL_OPTION_END; k++) {
        nnl_push_option_value(L, &option[k], &group->option[k]);
        lua_setfield(L, -2, option[k].name);
    }
}

// Checked in a copy, which then takes the place of the group's.
static void accept_options(lua_State *L, nnl_bind *bind, const nnl_optimizer *optimizer,
                           nnl_param_group *group, const nnl_option_value *values) {
    nnl_param_group trial = {.count = 0};
    memcpy(trial.option, values, sizeof trial.option);
    if (nnl_optimizer_check(bind->ctx, optimizer, &trial) != NNL_OK) nnl_raise(L, bind);
    memcpy(group->option, values, sizeof group->option);
}

void nnl_read_group(lua_State *L, nnl_bind *bind, nnl_optimizer *optimizer, nnl_param_group *group, int table,
                    const char *skipped) {
    char who[NNL_WHO_ROOM];
    nnl_option_value values[NNL_MAX_OPTIONS];
    memcpy(values, group->option, sizeof values);
    nnl_reading reading = {L,      bind, nnl_optimizer_who(optimizer, who), optimizer->class->options,
                           values, NULL};
    nnl_read_options(&reading, table, skipped);
    accept_options(L, bind, optimizer, group, values);
}

static void set_group_option(lua_State *L, nnl_bind *bind, nnl_optimizer *optimizer, nnl_param_group *group,
                             int position, int index) {
    char who[NNL_WHO_ROOM];
    nnl_option_value values[NNL_MAX_OPTIONS];
    memcpy(values, group->option, sizeof values);
    nnl_reading reading = {L,      bind, nnl_optimizer_who(optimizer, who), optimizer->class->options,
                           values, NULL};
    nnl_read_option(&reading, position, index);
    accept_options(L, bind, optimizer, group, values);
}

// ---- making one

static void add_parameters(lua_State *L, nnl_bind *bind, nnl_optimizer *optimizer, nnl_param_group *group,
                           int list) {
    char who[NNL_WHO_ROOM];
    if (!lua_istable(L, list)) {
        nnl_error(L, "%s: expected a list of parameters, got %s", nnl_optimizer_who(optimizer, who),
                  nnl_type_name(L, bind, list));
    }
    for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, list); i <= n; i++) {
        lua_rawgeti(L, list, i);
        nnl_tensor *param = nnl_to_tensor(L, bind, lua_gettop(L));
        if (!param) {
            nnl_error(L, "%s: parameter %d is no tensor but a %s", nnl_optimizer_who(optimizer, who), (int)i,
                      nnl_type_name(L, bind, lua_gettop(L)));
        }
        if (nnl_optimizer_add(bind->ctx, optimizer, group, param) != NNL_OK) nnl_raise(L, bind);
        lua_pop(L, 1);
    }
}

static nnl_param_group *new_group(lua_State *L, nnl_bind *bind, nnl_optimizer *optimizer) {
    nnl_param_group *group = nnl_optimizer_group(bind->ctx, optimizer);
    if (!group) nnl_raise(L, bind);
    return group;
}

// {params = {...}, lr = ...}
static void add_group(lua_State *L, nnl_bind *bind, nnl_optimizer *optimizer, int table) {
    nnl_param_group *group = new_group(L, bind, optimizer);
    nnl_read_group(L, bind, optimizer, group, table, "params");
    lua_getfield(L, table, "params");
    add_parameters(L, bind, optimizer, group, lua_gettop(L));
    lua_pop(L, 1);
}

static bool is_group(lua_State *L, int list) {
    lua_rawgeti(L, list, 1);
    bool table = lua_istable(L, -1);
    lua_pop(L, 1);
    return table;
}

static void add_all(lua_State *L, nnl_bind *bind, nnl_optimizer *optimizer, int list) {
    char who[NNL_WHO_ROOM];
    size_t count = lua_istable(L, list) ? lua_rawlen(L, list) : 0;
    bool layer = nnl_to_object(L, bind, list, NNL_KEPT_LAYER) != NULL;
    bool model = lua_istable(L, list) && luaL_getmetafield(L, list, "module_class") != LUA_TNIL;
    if (count == 0 || model) {
        nnl_error(L, "%s: expected a list of parameters or of groups, got %s",
                  nnl_optimizer_who(optimizer, who),
                  layer || model         ? "a model; give it model:parameters()"
                  : lua_istable(L, list) ? "an empty table"
                                         : nnl_type_name(L, bind, list));
    }
    if (!is_group(L, list)) {
        add_parameters(L, bind, optimizer, new_group(L, bind, optimizer), list);
        return;
    }
    for (size_t g = 1; g <= count; g++) {
        lua_rawgeti(L, list, (lua_Integer)g);
        luaL_checktype(L, -1, LUA_TTABLE);
        add_group(L, bind, optimizer, lua_gettop(L));
        lua_pop(L, 1);
    }
}

static void read_defaults(lua_State *L, nnl_bind *bind, nnl_optimizer *optimizer, int table) {
    nnl_param_group defaults = {.count = 0};
    memcpy(defaults.option, optimizer->defaults, sizeof defaults.option);
    luaL_checktype(L, table, LUA_TTABLE);
    nnl_read_group(L, bind, optimizer, &defaults, table, NULL);
    memcpy(optimizer->defaults, defaults.option, sizeof defaults.option);
}

// nn.optim.NAME(parameters or groups, options). Upvalue 2: the class.
static int construct(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_optimizer_class *class = lua_touserdata(L, lua_upvalueindex(2));
    lua_settop(L, 2);
    void **object = nnl_push_object(L, bind, NNL_KEPT_OPTIMIZER);
    nnl_optimizer *optimizer = *object = nnl_optimizer_new(bind->ctx, class);
    if (!optimizer) return nnl_raise(L, bind);
    if (!lua_isnil(L, 2)) read_defaults(L, bind, optimizer, 2);
    add_all(L, bind, optimizer, 1);
    lua_settop(L, 3);
    return 1;
}

static int optimizer_gc(lua_State *L) {
    nnl_optimizer **object = lua_touserdata(L, 1);
    nnl_optimizer *optimizer = *object;
    *object = NULL;
    nnl_bind_finalizing(L);
    nnl_optimizer_release(optimizer);
    return 0;
}

// ---- methods

// The closure computes the loss anew, with gradients whatever the mode is outside.
static int call_closure(lua_State *L, nnl_bind *bind) {
    bool before = bind->ctx->grad_enabled;
    lua_pushvalue(L, 2);
    bind->ctx->grad_enabled = true;
    int outcome = lua_pcall(L, 0, 1, 0);
    bind->ctx->grad_enabled = before;
    return outcome == LUA_OK ? 1 : lua_error(L);
}

static int optimizer_step(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_optimizer *optimizer = nnl_check_optimizer(L, bind, 1);
    int results = lua_isnoneornil(L, 2) ? 0 : call_closure(L, bind);
    if (nnl_optimizer_step(bind->ctx, optimizer) != NNL_OK) return nnl_raise(L, bind);
    return results;
}

static int optimizer_zero_grad(lua_State *L) {
    nnl_optimizer_zero_grad(nnl_check_optimizer(L, nnl_bind_of(L), 1));
    return 0;
}

// optimizer:_state_bytes(): what the state of all trained parameters takes, made or not
static int optimizer_state_bytes(lua_State *L) {
    const nnl_optimizer *optimizer = nnl_check_optimizer(L, nnl_bind_of(L), 1);
    lua_pushinteger(L, (lua_Integer)nnl_optimizer_state_bytes(optimizer));
    return 1;
}

// A group that cannot be added leaves the optimizer as it was.
static int add_group_protected(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    add_group(L, bind, nnl_check_optimizer(L, bind, 1), 2);
    return 0;
}

static int optimizer_add_param_group(lua_State *L) {
    nnl_optimizer *optimizer = nnl_check_optimizer(L, nnl_bind_of(L), 1);
    size_t before = optimizer->count;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, add_group_protected, 1);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK) return 0;
    while (optimizer->count > before) nnl_optimizer_drop_group(optimizer);
    return lua_error(L);
}

// ---- param_groups: for each group a table that reads and writes the engine's options. Upvalues: the state,
// the optimizer, the group's number from 0.

static nnl_param_group *group_of(lua_State *L, nnl_bind *bind, nnl_optimizer **optimizer) {
    *optimizer = nnl_check_optimizer(L, bind, lua_upvalueindex(2));
    return &(*optimizer)->groups[lua_tointeger(L, lua_upvalueindex(3))];
}

static void push_params(lua_State *L, nnl_bind *bind, const nnl_param_group *group) {
    lua_createtable(L, (int)group->count, 0);
    for (size_t i = 0; i < group->count; i++) {
        nnl_push_borrowed(L, bind, group->params[i].param);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static int group_index(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_optimizer *optimizer;
    const nnl_param_group *group = group_of(L, bind, &optimizer);
    int position;
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    const nnl_option *option = nnl_option_named(optimizer->class->options, name, &position);
    if (strcmp(name, "params") == 0) {
        push_params(L, bind, group);
    } else if (option) {
        nnl_push_option_value(L, option, &group->option[position]);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int unknown_option(lua_State *L, const nnl_optimizer *optimizer, int key) {
    char who[NNL_WHO_ROOM];
    return nnl_error(L, "%s: there is no option '%s' to set", nnl_optimizer_who(optimizer, who),
                     luaL_tolstring(L, key, NULL));
}

static int group_newindex(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_optimizer *optimizer;
    nnl_param_group *group = group_of(L, bind, &optimizer);
    int position;
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (!nnl_option_named(optimizer->class->options, name, &position)) return unknown_option(L, optimizer, 2);
    set_group_option(L, bind, optimizer, group, position, 3);
    return 0;
}

static int group_pairs(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_optimizer *optimizer;
    const nnl_param_group *group = group_of(L, bind, &optimizer);
    lua_getglobal(L, "next");
    nnl_push_group_options(L, optimizer, group);
    push_params(L, bind, group);
    lua_setfield(L, -2, "params");
    lua_pushnil(L);
    return 3;
}

static const luaL_Reg group_metamethods[] = {
    {"__index", group_index}, {"__newindex", group_newindex}, {"__pairs", group_pairs}, {NULL, NULL}};

static void push_group(lua_State *L, int optimizer, size_t g) {
    lua_newtable(L);
    lua_newtable(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, optimizer);
    lua_pushinteger(L, (lua_Integer)g);
    luaL_setfuncs(L, group_metamethods, 3);
    lua_setmetatable(L, -2);
}

// ---- fields: options read the first group and write all

// Upvalue 2: the methods.
static int optimizer_index(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_optimizer *optimizer = nnl_check_optimizer(L, bind, 1);
    int position;
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL || lua_type(L, 2) != LUA_TSTRING) return 1;
    const char *name = lua_tostring(L, 2);
    const nnl_option *option = nnl_option_named(optimizer->class->options, name, &position);
    if (option) {
        nnl_push_option_value(L, option, &optimizer->groups[0].option[position]);
    } else if (strcmp(name, "param_groups") == 0) {
        lua_createtable(L, (int)optimizer->count, 0);
        for (size_t g = 0; g < optimizer->count; g++) {
            push_group(L, 1, g);
            lua_rawseti(L, -2, (lua_Integer)g + 1);
        }
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int optimizer_newindex(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_optimizer *optimizer = nnl_check_optimizer(L, bind, 1);
    int position;
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (!nnl_option_named(optimizer->class->options, name, &position)) return unknown_option(L, optimizer, 2);
    for (size_t g = 0; g < optimizer->count; g++) {
        set_group_option(L, bind, optimizer, &optimizer->groups[g], position, 3);
    }
    return 0;
}

static int optimizer_tostring(lua_State *L) {
    const nnl_optimizer *optimizer = nnl_check_optimizer(L, nnl_bind_of(L), 1);
    const nnl_option_value *values = optimizer->count > 0 ? optimizer->groups[0].option : optimizer->defaults;
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luaL_addstring(&text, optimizer->class->name);
    luaL_addchar(&text, '(');
    nnl_add_options_text(&text, optimizer->class->options, values);
    luaL_addchar(&text, ')');
    luaL_pushresult(&text);
    return 1;
}

// ---- opening

static const luaL_Reg metamethods[] = {
    {"__gc", optimizer_gc},
    {"__close", optimizer_gc},
    {"__newindex", optimizer_newindex},
    {"__tostring", optimizer_tostring},
    {NULL, NULL},
};

static const luaL_Reg methods[] = {
    {"step", optimizer_step},
    {"zero_grad", optimizer_zero_grad},
    {"_state_bytes", optimizer_state_bytes},
    {"add_param_group", optimizer_add_param_group},
    {"state_dict", nnl_optimizer_state_dict},
    {"load_state_dict", nnl_optimizer_load_state_dict},
    {NULL, NULL},
};

static int is_optimizer(lua_State *L) {
    lua_pushboolean(L, nnl_to_object(L, nnl_bind_of(L), 1, NNL_KEPT_OPTIMIZER) != NULL);
    return 1;
}

void nnl_open_optimizers(lua_State *L) {
    nnl_new_metatable(L, NNL_KEPT_OPTIMIZER, "optimizer", metamethods);
    lua_newtable(L);
    nnl_set_functions(L, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, NNL_CORE_INDEX, "optimizer_methods");
    nnl_push_function(L, optimizer_index, 1);
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    for (const nnl_optimizer_class *const *class = nnl_optimizer_classes; *class; class ++) {
        lua_pushlightuserdata(L, (void *)*class);
        nnl_push_function(L, construct, 1);
        lua_setfield(L, -2, (*class)->name);
    }
    lua_setfield(L, NNL_CORE_INDEX, "optimizers");
    nnl_push_function(L, is_optimizer, 0);
    lua_setfield(L, NNL_CORE_INDEX, "is_optimizer");
}
