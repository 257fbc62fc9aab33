// script.h: running Lua code for the program: chunks from files, strings and modules, each under a message
// handler and open to Ctrl-C. Statuses are those of lua_pcall.
#ifndef NNL_APP_SCRIPT_H
#define NNL_APP_SCRIPT_H

#include <lua.h>

#include <stdbool.h>

// Call the function below `arguments` values on the stack, with results and errors as lua_pcall leaves them.
// While it runs, SIGINT raises the error "interrupted!" in it (interrupt.h).
int nnl_call(lua_State *L, int arguments, int results, lua_CFunction message_handler);

// The message handler of scripts: the error as text, and the traceback.
int nnl_traceback(lua_State *L);

// For message handlers: replace the error value at index 1 by text. Returns whether a traceback belongs
// behind it: not where the value itself says how it reads (__tostring).
bool nnl_error_text(lua_State *L);

// Print the message at the top of the stack to stderr and pop it; nothing when status is LUA_OK. Returns
// status.
int nnl_report(lua_State *L, int status);

// Run and report. A file named NULL is standard input. A script gets the values of the global `arg` as its
// `...`.
int nnl_run_string(lua_State *L, const char *code, const char *chunk_name);
int nnl_run_file(lua_State *L, const char *name);
int nnl_run_script(lua_State *L, const char *name);

// Require a module into a global: "module" or "global=module".
int nnl_run_require(lua_State *L, const char *request);

#endif
