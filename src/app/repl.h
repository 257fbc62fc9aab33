// repl.h: the prompt: read, evaluate, print, again.
#ifndef NNL_APP_REPL_H
#define NNL_APP_REPL_H

#include <lua.h>

#include <stdbool.h>

// Returns when the input ends. Provides the globals `nn` (the library), `help` and `who`, and the last
// results as
// `_`, `__` and `___`. Begins with the person's init.lua, if it may.
void nnl_repl_run(lua_State *L, bool runs_init_file);

#endif
