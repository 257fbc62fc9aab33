// optim.h: what the two files of optimizers in the binding share.
#ifndef NNL_BIND_OPTIM_H
#define NNL_BIND_OPTIM_H

#include "bind/options.h"
#include "optim/optimizer.h"

nnl_optimizer *nnl_check_optimizer(lua_State *L, const nnl_bind *bind, int arg);

// "nn.optim.Adam"
const char *nnl_optimizer_who(const nnl_optimizer *optimizer, char who[NNL_WHO_ROOM]);

// A group's options as a table, pushed.
void nnl_push_group_options(lua_State *L, const nnl_optimizer *optimizer, const nnl_param_group *group);

// Puts a table of options into a group, all or, where one of them is wrong, none. `skipped` is a key to
// leave.
void nnl_read_group(lua_State *L, nnl_bind *bind, nnl_optimizer *optimizer, nnl_param_group *group, int table,
                    const char *skipped);

// state_dict and load_state_dict (optim_state.c)
int nnl_optimizer_state_dict(lua_State *L);
int nnl_optimizer_load_state_dict(lua_State *L);

#endif
