// interrupt.c: the signal's handler, and what it needs to find. See interrupt.h.
#define _POSIX_C_SOURCE 200809L
#include "app/interrupt.h"

#include "nnlua.h"

#include <lauxlib.h>

#include <stdatomic.h>
#include <unistd.h>

// A signal handler gets no argument of ours, so what it stops must stand here.
static nnl_running *volatile innermost;
static volatile sig_atomic_t presses; // since what runs began
static volatile sig_atomic_t keeps_session;

// Once, the error can be caught; after that it comes again at every instruction until all is left. The hook
// of a coroutine that outlives its call must do nothing.
static void raise_interrupted(lua_State *L, lua_Debug *where) {
    (void)where;
    if (presses < 2) lua_sethook(L, NULL, 0, 0);
    if (presses == 0) return;
    luaL_where(L, 0);
    lua_pushliteral(L, "interrupted!");
    lua_concat(L, 2);
    lua_error(L);
}

static void give_up(void) {
    static const char text[] = "\nnnlua: this cannot be stopped where it is; Ctrl-C again ends the program\n";
    signal(SIGINT, SIG_DFL);
    if (!keeps_session) {
        raise(SIGINT);
    } else if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
        return; // nobody to tell
    }
}

// lua_sethook is one of the few functions of Lua that a signal handler may call: the error itself is raised
// by the hook, at the next instruction. Long work inside the engine is no instruction, hence nnlua_interrupt.
static void on_interrupt(int signal_number) {
    (void)signal_number;
    presses = presses + 1;
    if (presses > (keeps_session ? 2 : 1)) {
        give_up();
        return;
    }
    const nnl_running *outermost = NULL;
    for (const nnl_running *place = innermost; place; place = place->outer) {
        lua_sethook(place->L, raise_interrupted, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
        outermost = place;
    }
    if (outermost) nnlua_interrupt(outermost->L);
}

void nnl_interrupts_keep_session(bool keep) { keeps_session = keep; }

void nnl_running_push(nnl_running *place, lua_State *co) {
    *place = (nnl_running){co, innermost};
    atomic_signal_fence(memory_order_seq_cst);
    innermost = place;
}

void nnl_running_pop(const nnl_running *place) { innermost = place->outer; }

void nnl_interrupts_begin(nnl_running *place, lua_State *L, struct sigaction *before) {
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    presses = 0;
    nnl_running_push(place, L);
    sigaction(SIGINT, &action, before);
}

// A hook that has not fired yet must not fire in the next call.
void nnl_interrupts_end(nnl_running *place, const struct sigaction *before) {
    sigaction(SIGINT, before, NULL);
    nnl_running_pop(place);
    if (presses > 0) lua_sethook(place->L, NULL, 0, 0);
    presses = 0;
}
