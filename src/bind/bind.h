// bind.h: what the files of the binding share: the state of a Lua state, userdata, checks of arguments,
// errors. A function here checks, calls the engine once, and pushes.
#ifndef NNL_BIND_BIND_H
#define NNL_BIND_BIND_H

#include "bind/compat.h"
#include "grad/backward.h"
#include "grad/ops.h"
#include "tensor/apply.h"
#include "tensor/print.h"

// Lua values that belong to the state, kept as values of its userdata.
typedef enum nnl_kept {
    NNL_KEPT_TENSOR = 1, // metatables
    NNL_KEPT_LAYER,
    NNL_KEPT_OPTIMIZER,
    NNL_KEPT_HOOK,
    NNL_KEPT_STEPS,
    NNL_KEPT_SUPPLY,
    NNL_KEPT_FEED,
    NNL_KEPT_TOKENIZER,
    NNL_KEPT_COUNTER,
    NNL_KEPT_DECODER,
    NNL_KEPT_SAMPLER,
    NNL_KEPT_CALLBACKS, // Lua functions that the graph holds, by number
    NNL_KEPT_ERROR,     // what a callback raised, on its way through the engine
    NNL_KEPT_OUTPUT,    // the function given to nn.set_output
    NNL_KEPT_WATCHER,   // the function that calls watched layers
    NNL_KEPT_COUNT = NNL_KEPT_WATCHER
} nnl_kept;

typedef struct nnl_request nnl_request;

// One for each Lua state: upvalue 1 of every C function of the binding.
typedef struct nnl_bind {
    nnl_context *ctx;
    lua_State *L;                              // that called the engine last: callbacks run in it
    const void *metatable[NNL_KEPT_CALLBACKS]; // their identities
    nnl_request *request;                      // where nnlua_interrupt leaves its wish
    int depth;                                 // callbacks that run now
    bool raised;                               // NNL_KEPT_ERROR holds an error to raise
    const char *option;                        // that was pushed last, for messages about its value,
    int option_index;                          // which lies here on the stack
    nnl_print_options print;                   // how tensors are written
} nnl_bind;

// The state, for a C function of ours.
nnl_bind *nnl_bind_of(lua_State *L);
// For finalizers, which may run in the middle of another function of ours: what they let go of may be a
// callback.
void nnl_bind_finalizing(lua_State *L);

// ---- opening (nnlua.c). A part finds the table nnlua.core at stack index 1 and the state's userdata at 2.
enum { NNL_CORE_INDEX = 1, NNL_BIND_INDEX = 2 };
typedef void nnl_open_part(lua_State *L);
nnl_open_part nnl_open_tensor, nnl_open_ops, nnl_open_create, nnl_open_convert, nnl_open_autograd,
    nnl_open_checkpoint, nnl_open_trial, nnl_open_context, nnl_open_layers, nnl_open_optimizers,
    nnl_open_init, nnl_open_files, nnl_open_csv, nnl_open_json, nnl_open_readers, nnl_open_sound,
    nnl_open_image, nnl_open_feed, nnl_open_text, nnl_open_events, nnl_open_program, nnl_open_print,
    nnl_open_describe, nnl_open_hint, nnl_open_embed, nnl_open_decoder;

// Functions into the table on top, upvalue 1 being the state.
void nnl_set_functions(lua_State *L, const luaL_Reg *functions);
// A function onto the stack, upvalue 1 being the state; the values on top become the upvalues after it.
void nnl_push_function(lua_State *L, lua_CFunction function, int upvalues);
// A metatable, pushed and kept for nnl_push_object and nnl_to_object.
void nnl_new_metatable(lua_State *L, nnl_kept kind, const char *name, const luaL_Reg *metamethods);

// ---- userdata (tensor.c). An object points to what the engine made, empty until that is there: no error of
// Lua's can leak it. Its mark is the identity of its kind in this state, which nobody else's userdata holds:
// quicker to check than the metatable. Only for functions with the state as upvalue 1.
typedef struct nnl_object {
    void *object;
    const void *mark;
} nnl_object;

void **nnl_push_object(lua_State *L, nnl_bind *bind, nnl_kept kind);
// The same for a tensor, of a function that has the metatable of tensors as its upvalue n.
nnl_tensor **nnl_push_slot_by(lua_State *L, nnl_bind *bind, int n);

static inline void *nnl_to_object(lua_State *L, const nnl_bind *bind, int index, nnl_kept kind) { // or NULL
    const nnl_object *o = lua_touserdata(L, index);
    if (!o || lua_rawlen(L, index) != sizeof *o || o->mark != bind->metatable[kind]) return NULL;
    return o->object;
}

// An empty tensor, to be filled afterwards: nnl_fill_slot(L, bind, slot, nnl_...()). Also feeds Lua's
// collector.
nnl_tensor **nnl_push_slot(lua_State *L, nnl_bind *bind);
// Takes t; NULL raises the context's error. Returns 1.
int nnl_fill_slot(lua_State *L, nnl_bind *bind, nnl_tensor **slot, nnl_tensor *t);
// Pushes a tensor that others hold too. Returns 1.
int nnl_push_borrowed(lua_State *L, nnl_bind *bind, nnl_tensor *t);
// Takes t, as nnl_fill_slot. Where Lua has no memory left, t is lost: for what a slot cannot wait for.
int nnl_push_tensor(lua_State *L, nnl_bind *bind, nnl_tensor *t);
static inline nnl_tensor *nnl_to_tensor(lua_State *L, const nnl_bind *bind, int index) { // or NULL
    return nnl_to_object(L, bind, index, NNL_KEPT_TENSOR);
}
nnl_tensor *nnl_check_tensor(lua_State *L, const nnl_bind *bind, int arg);

// ---- errors (check.c), raised at the caller's line.
int nnl_raise(lua_State *L, nnl_bind *bind); // the context's, or what a callback raised
int nnl_error(lua_State *L, const char *format, ...);
const char *nnl_type_name(lua_State *L, const nnl_bind *bind,
                          int index); // also "tensor", "layer", "no value"
// The name of our function that runs, as its caller spells it; NULL where that is unknown.
const char *nnl_own_name(lua_State *L);
// About an argument, or the value of the option that was pushed last; text may be on the stack.
int nnl_arg_error(lua_State *L, const nnl_bind *bind, int arg, const char *text);
int nnl_type_error(lua_State *L, const nnl_bind *bind, int arg, const char *expected);
// About the first argument, which is no tensor.
void nnl_self_error(lua_State *L, const nnl_bind *bind);

// ---- names that were meant instead of one that is not there (hint.c)
#define NNL_HINT_ROOM 32
typedef struct nnl_hint {
    const char *asked;
    int slips; // that separate the name below from it; more than are allowed where there is none
    char name[NNL_HINT_ROOM]; // "" where none is near
} nnl_hint;

nnl_hint nnl_hint_for(const char *asked);
void nnl_hint_words(nnl_hint *hint, const char *words); // separated by spaces or commas
void nnl_hint_keys(nnl_hint *hint, lua_State *L, int table);
const char *nnl_hint_push(lua_State *L,
                          const nnl_hint *hint); // "; did you mean 'sum'?" or "", onto the stack
const char *nnl_hint_of_words(lua_State *L, const char *asked, const char *words); // all of these at once

// ---- arguments (check.c)
nnl_number nnl_check_number(lua_State *L, const nnl_bind *bind, int arg);
// An error where a dtype cannot hold a number: 300 in uint8, NaN in an integer type.
void nnl_check_holds(lua_State *L, nnl_dtype dtype, nnl_number value);
nnl_number nnl_check_value(lua_State *L, const nnl_bind *bind, int arg); // a boolean too
int64_t nnl_check_integer(lua_State *L, const nnl_bind *bind, int arg);
nnl_dtype nnl_check_dtype(lua_State *L, const nnl_bind *bind, int arg);
int nnl_check_dim(lua_State *L, const nnl_bind *bind, int arg,
                  int ndim); // 1 to ndim or negative, to 0 to ndim - 1
// Sizes: a table, or integers from arg up to `last`.
void nnl_check_shape(lua_State *L, const nnl_bind *bind, int arg, int last, nnl_shape *shape);
// The tensors of a list, borrowed; their array is a userdata that stays on the stack.
nnl_tensor_list nnl_check_tensors(lua_State *L, const nnl_bind *bind, int arg);
// A number, or the integers of a list or of an int tensor of at most one dimension; their array is a userdata
// that stays on the stack.
nnl_int_list nnl_check_integers(lua_State *L, const nnl_bind *bind, int arg);
// The position of the last argument that is not nil.
int nnl_last_argument(lua_State *L);
// Whether the value is {}: no sizes, no dims, or no options.
bool nnl_is_empty_table(lua_State *L, int index);
// Whether the value is a table of options: string keys, no list.
bool nnl_is_options(lua_State *L, int index);
// Pushes the option of this name, or nil; index 0 stands for no table. `name` must last.
void nnl_push_option(lua_State *L, int table, const char *name);
// Such an option of type boolean; false where it was left out.
bool nnl_option_bool(lua_State *L, const nnl_bind *bind, int table, const char *name);
// An error where a key is not among the words of `allowed`.
void nnl_check_options(lua_State *L, int table, const char *allowed);

// ---- indexing (index.c): the key is at 2, a value to write at 3
int nnl_index_read(lua_State *L, nnl_bind *bind, nnl_tensor *t);
int nnl_index_write(lua_State *L, nnl_bind *bind, nnl_tensor *t);

// The same where the items of the key are tensors, too (pick.c).
bool nnl_key_has_tensor(lua_State *L, const nnl_bind *bind);
int nnl_pick_read(lua_State *L, nnl_bind *bind, nnl_tensor *t);
int nnl_pick_write(lua_State *L, nnl_bind *bind, nnl_tensor *t);

// An element as a Lua number, or boolean.
void nnl_push_element(lua_State *L, nnl_dtype dtype, const void *memory);
// Nested tables or a number as a new tensor (convert.c); raises where they are ragged.
nnl_tensor *nnl_tensor_from_lua(lua_State *L, nnl_bind *bind, int index, bool has_dtype, nnl_dtype dtype);

// ---- files (io.c)
const char *nnl_check_path(lua_State *L, int arg);
// What a file or the disk is to blame for is returned, as nil and a message; all else is raised.
int nnl_fail_io(lua_State *L, nnl_bind *bind);
// A call of body with `held` as light userdata at index 1 is put on the stack before the engine fills `held`,
// and run afterwards: whether Lua fails in it or not, `held` is let go of. Arguments may be pushed between
// the two.
void nnl_push_holding(lua_State *L, lua_CFunction body, void *held);
int nnl_run_holding(lua_State *L, int arguments, int results, void (*release)(void *held), void *held);

// ---- callbacks (callback.c): Lua functions that the graph holds
int nnl_callback_new(lua_State *L, nnl_bind *bind); // the value on top, popped; its number
void nnl_callback_free(nnl_bind *bind, int callback);
// Runs body protected, with `arg` as light userdata at index 1 and the callback's value at 2. An error waits
// in the state for nnl_raise.
nnl_status nnl_callback_run(nnl_bind *bind, int callback, lua_CFunction body, void *arg);

// ---- places where a request to stop is left (interrupt.c)

// Raises the error "interrupted" where the host wants an end: after work that may then be undone.
void nnl_check_interrupted(lua_State *L, nnl_bind *bind);
nnl_request *nnl_request_new(lua_State *L);
void nnl_request_free(nnl_request *request);
void nnl_request_clear(nnl_request *request);
bool nnl_request_pending(const nnl_request *request);

#endif
