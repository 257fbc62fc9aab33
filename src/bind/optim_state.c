// optim_state.c: the state of optimizers as plain data and tensors: {state = {[i] = {step = n, exp_avg =
// tensor}}, param_groups = {{lr = ..., params = {i, ...}}}}. Parameters count from 1 over all groups.
#include "bind/optim.h"

#include <string.h>

// Behind the name of state in bytes: the name of its measures.
#define SCALE "_scale"

static void push_state(lua_State *L, nnl_bind *bind, const nnl_optimizer *optimizer,
                       const nnl_param_state *p) {
    lua_newtable(L);
    lua_pushinteger(L, (lua_Integer)p->steps);
    lua_setfield(L, -2, "step");
    for (int k = 0; k < NNL_MAX_STATE && optimizer->class->state[k]; k++) {
        if (!p->state[k]) continue;
        nnl_push_borrowed(L, bind, p->state[k]);
        lua_setfield(L, -2, optimizer->class->state[k]);
        if (!p->scale[k]) continue;
        lua_pushfstring(L, "%s" SCALE, optimizer->class->state[k]);
        nnl_push_borrowed(L, bind, p->scale[k]);
        lua_rawset(L, -3);
    }
}

static void push_positions(lua_State *L, size_t count, lua_Integer first) {
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushinteger(L, first + (lua_Integer)i);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

int nnl_optimizer_state_dict(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_optimizer *optimizer = nnl_check_optimizer(L, bind, 1);
    lua_Integer position = 1;
    lua_settop(L, 1);
    lua_newtable(L); // 2: the result
    lua_newtable(L); // 3: state
    lua_newtable(L); // 4: groups
    for (size_t g = 0; g < optimizer->count; g++) {
        const nnl_param_group *group = &optimizer->groups[g];
        nnl_push_group_options(L, optimizer, group);
        push_positions(L, group->count, position);
        lua_setfield(L, -2, "params");
        lua_rawseti(L, 4, (lua_Integer)g + 1);
        for (size_t i = 0; i < group->count; i++, position++) {
            if (group->params[i].steps == 0) continue;
            push_state(L, bind, optimizer, &group->params[i]);
            lua_rawseti(L, 3, position);
        }
    }
    lua_setfield(L, 2, "param_groups");
    lua_setfield(L, 2, "state");
    return 1;
}

// ---- loading

// The slot of a name, which may have `_scale` behind it; -1 where there is none.
static int state_slot(const nnl_optimizer *optimizer, const char *name) {
    for (int k = 0; k < NNL_MAX_STATE && optimizer->class->state[k]; k++) {
        size_t length = strlen(optimizer->class->state[k]);
        if (strncmp(optimizer->class->state[k], name, length) != 0) continue;
        if (name[length] == 0 || strcmp(name + length, SCALE) == 0) return k;
    }
    return -1;
}

// One entry of a parameter's state: the key below the value on top. The step is taken; tensors only looked
// at.
static void check_entry(lua_State *L, nnl_bind *bind, const nnl_optimizer *optimizer, nnl_param_state *p) {
    char who[NNL_WHO_ROOM];
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    if (strcmp(name, "step") == 0 && nnl_lua_to_integer(L, lua_gettop(L), &p->steps)) return;
    if (state_slot(optimizer, name) < 0 || !nnl_to_tensor(L, bind, lua_gettop(L))) {
        nnl_error(L, "%s: load_state_dict: '%s' is no state of this optimizer",
                  nnl_optimizer_who(optimizer, who), name);
    }
}

// State k, of the table on top.
static void load_slot(lua_State *L, nnl_bind *bind, const nnl_optimizer *optimizer,
                      const nnl_param_group *group, nnl_param_state *p, int k) {
    int table = lua_gettop(L);
    lua_getfield(L, table, optimizer->class->state[k]);
    lua_pushfstring(L, "%s" SCALE, optimizer->class->state[k]);
    lua_rawget(L, table);
    nnl_tensor *values = nnl_to_tensor(L, bind, table + 1), *scale = nnl_to_tensor(L, bind, table + 2);
    if (values &&
        nnl_optimizer_load(bind->ctx, optimizer->class, group->option, p, k, values, scale) != NNL_OK)
        nnl_raise(L, bind);
    lua_settop(L, table);
}

// The state of one parameter, at the top of the stack: nil or a table.
static void load_state(lua_State *L, nnl_bind *bind, const nnl_optimizer *optimizer,
                       const nnl_param_group *group, nnl_param_state *p) {
    nnl_optimizer_forget(p);
    if (!lua_istable(L, -1)) return;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        check_entry(L, bind, optimizer, p);
        lua_pop(L, 1);
    }
    for (int k = 0; k < NNL_MAX_STATE && optimizer->class->state[k]; k++)
        load_slot(L, bind, optimizer, group, p, k);
}

static void wrong_groups(lua_State *L, const nnl_optimizer *optimizer) {
    char who[NNL_WHO_ROOM];
    nnl_error(L, "%s: load_state_dict: expected %d groups with as many parameters as this optimizer has",
              nnl_optimizer_who(optimizer, who), (int)optimizer->count);
}

// The table `groups` must tell of the same groups; leaves nothing on the stack.
static void check_groups(lua_State *L, const nnl_optimizer *optimizer, int groups) {
    if (!lua_istable(L, groups) || lua_rawlen(L, groups) != optimizer->count) wrong_groups(L, optimizer);
    for (size_t g = 0; g < optimizer->count; g++) {
        lua_rawgeti(L, groups, (lua_Integer)g + 1);
        if (!lua_istable(L, -1)) wrong_groups(L, optimizer);
        lua_getfield(L, -1, "params");
        if (!lua_istable(L, -1) || lua_rawlen(L, -1) != optimizer->groups[g].count)
            wrong_groups(L, optimizer);
        lua_pop(L, 2);
    }
}

int nnl_optimizer_load_state_dict(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_optimizer *optimizer = nnl_check_optimizer(L, bind, 1);
    lua_Integer position = 1;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_getfield(L, 2, "param_groups");
    check_groups(L, optimizer, 3);
    lua_getfield(L, 2, "state");
    luaL_argcheck(L, lua_istable(L, 4), 2, "there is no table 'state' in it");
    for (size_t g = 0; g < optimizer->count; g++) {
        nnl_param_group *group = &optimizer->groups[g];
        lua_rawgeti(L, 3, (lua_Integer)g + 1);
        nnl_read_group(L, bind, optimizer, group, lua_gettop(L), "params");
        lua_pop(L, 1);
        for (size_t i = 0; i < group->count; i++, position++) {
            lua_rawgeti(L, 4, position);
            load_state(L, bind, optimizer, group, &group->params[i]);
            lua_pop(L, 1);
        }
    }
    return 0;
}
