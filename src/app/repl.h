// repl.h: the prompt: read, evaluate, print, again.
#ifndef NNL_APP_REPL_H
#define NNL_APP_REPL_H

#include <lua.h>

// Returns when the input ends. Provides the globals `nn` (the library) and `_` (the last result).
void nnl_repl_run(lua_State *L);

#endif
