// show.h: a value as the prompt shows it.
#ifndef NNL_APP_SHOW_H
#define NNL_APP_SHOW_H

#include <lua.h>

// Push text for the value at `index`: strings in quotes, tables one level deep, anything else as tostring has
// it. Raises what a __tostring raises.
void nnl_show(lua_State *L, int index);

#endif
