// interrupt.h: Ctrl-C while Lua code runs: an error "interrupted!" where it is, in whatever coroutine.
#ifndef NNL_APP_INTERRUPT_H
#define NNL_APP_INTERRUPT_H

#include <lua.h>

#include <signal.h>
#include <stdbool.h>

// A thread of Lua's that runs: the main one, or a coroutine, resumed by the outer one. Lives on the C stack.
typedef struct nnl_running {
    lua_State *L;
    struct nnl_running *outer;
} nnl_running;

// Between these, SIGINT stops what runs in L.
void nnl_interrupts_begin(nnl_running *place, lua_State *L, struct sigaction *before);
void nnl_interrupts_end(nnl_running *place, const struct sigaction *before);

// Around what runs in a coroutine.
void nnl_running_push(nnl_running *place, lua_State *co);
void nnl_running_pop(const nnl_running *place);

// What a second SIGINT does, where the first one did not help: ends the process, as in a script; or, in a
// session that is to be kept, insists: nothing in Lua can catch the error then, and only a fourth ends it.
void nnl_interrupts_keep_session(bool keep);

// Replaces resume and wrap of the library coroutine by such as tell what they run.
void nnl_open_coroutines(lua_State *L);

#endif
