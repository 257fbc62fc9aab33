// nnlua.h: the embedding API: what a C or C++ program needs to give nnlua to the Lua states it hosts.
// Needs no other header. Everything here may be used on any number of states and threads, one thread to a
// state.
#ifndef NNLUA_H
#define NNLUA_H

#define NNLUA_VERSION "0.1.0"

// Grows when a program that was compiled with an older header would no longer work with the library.
#define NNLUA_ABI 1

#if defined(__GNUC__)
#define NNL_API __attribute__((visibility("default")))
#else
#define NNL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lua_State lua_State;

// Open the library and push its table: a lua_CFunction, for luaL_requiref and the like. Raises a Lua error
// when there is no memory.
NNL_API int luaopen_nnlua(lua_State *L);

// Make `require "nnlua"` find the library that is linked into this program. Loads nothing yet and leaves the
// stack as it was.
NNL_API void nnlua_preload(lua_State *L);

// Ask the computation that runs inside the library in this state to stop: the call that started it raises a
// Lua error. Safe in a signal handler and from another thread, as long as the state is open. Without effect
// where the library is not loaded or computes nothing at the moment: a request never waits for a later
// computation.
NNL_API void nnlua_interrupt(lua_State *L);

// Say that the whole process belongs to nnlua, so that it may change what all of the process shares (the
// number of threads of OpenBLAS). For a program of its own; a guest inside another program does not call it.
NNL_API void nnlua_own_process(void);

#ifdef __cplusplus
}
#endif

#endif
