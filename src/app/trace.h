// trace.h: the traceback of an error as a person at the prompt wants it.
#ifndef NNL_APP_TRACE_H
#define NNL_APP_TRACE_H

#include <lua.h>

// The message handler of the prompt: the error as text, and behind it the functions of the person's own that
// led there, unless it came from the typed line itself.
int nnl_short_traceback(lua_State *L);

#endif
