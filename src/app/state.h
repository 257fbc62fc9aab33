// state.h: the program's Lua state: as luaL_newstate makes it, but with memory that is quick for small
// objects.
#ifndef NNL_APP_STATE_H
#define NNL_APP_STATE_H

#include <lua.h>

// NULL where there is no memory.
lua_State *nnl_state_new(void);
void nnl_state_close(lua_State *L);

#endif
