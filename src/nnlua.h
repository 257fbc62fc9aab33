// nnlua.h: the embedding API: what a C or C++ program needs to give nnlua to the Lua states it hosts, and to
// use it from C: memory shared both ways, models loaded and asked, scripts run. Needs no other header than
// these. Everything here may be used on any number of states and threads, one thread to a state at a time.
#ifndef NNLUA_H
#define NNLUA_H

#include <stddef.h>
#include <stdint.h>

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

// ---- opening

// The NNLUA_ABI and NNLUA_VERSION of the library that runs, to be compared with those of the header.
NNL_API int nnlua_abi_version(void);
NNL_API const char *nnlua_version(void);

// Open the library and push its table: a lua_CFunction, for luaL_requiref and the like. Raises a Lua error
// when there is no memory.
NNL_API int luaopen_nnlua(lua_State *L);

// Make `require "nnlua"` find the library that is linked into this program. Loads nothing yet and leaves the
// stack as it was. The state needs Lua's own package library; may raise a Lua error when there is no memory.
NNL_API void nnlua_preload(lua_State *L);

// Ask the computation that runs inside the library in this state to stop: the call that started it raises a
// Lua error. Safe in a signal handler and from another thread, as long as the state is open; L is the state's
// first thread, no coroutine. Without effect where the library is not loaded (in Lua 5.1 and LuaJIT: was
// loaded by a coroutine) or computes nothing at the moment: a request never waits for a later computation.
NNL_API void nnlua_interrupt(lua_State *L);

// Say that the whole process belongs to nnlua, so that it may change what all of the process shares (the
// number of threads of OpenBLAS). For a program of its own; a guest inside another program does not call it.
NNL_API void nnlua_own_process(void);

// ---- from C
//
// All that follows returns a status and never raises a Lua error. On failure nothing is pushed, and
// nnlua_error has the text. Every function needs a few free places of Lua's stack and looks after them
// itself.

typedef enum nnlua_status {
    NNLUA_OK = 0,
    NNLUA_ERR_ARGUMENT = 1, // the caller's mistake: no such dtype, no tensor at this index, another shape
    NNLUA_ERR_CLOSED = 2,   // nnlua_open was not called in this state, or failed
    NNLUA_ERR_MEMORY = 3,   // out of memory, Lua's or the tensors'
    NNLUA_ERR_FILE = 4,     // a file that cannot be read, or holds no model
    NNLUA_ERR_LUA = 5       // Lua code raised an error
} nnlua_status;

// Load the library, as require "nnlua" does, so that scripts find it loaded and the functions below work. The
// state has Lua's base, package, string, table and math libraries. Again: nothing.
NNL_API nnlua_status nnlua_open(lua_State *L);

// What went wrong in this state last, never NULL: valid until the next call of a function of this header.
NNL_API const char *nnlua_error(lua_State *L);

// ---- tensors

// Element types, by the names that scripts use.
typedef enum nnlua_dtype {
    NNLUA_FLOAT32 = 0,
    NNLUA_FLOAT64 = 1,
    NNLUA_INT64 = 2,
    NNLUA_INT32 = 3,
    NNLUA_UINT8 = 4,
    NNLUA_BOOL = 5, // a byte each, 0 or 1
    NNLUA_BFLOAT16 = 6,
    NNLUA_FLOAT16 = 7
} nnlua_dtype;

#define NNLUA_MAX_DIMS 8

// A tensor's elements as they lie in memory: element (i, j, ...) is at i * stride[0] + j * stride[1] + ...,
// counted from 0. What stands behind the first `ndim` sizes and strides means nothing.
typedef struct nnlua_array {
    void *data;                     // the first element; may be NULL where there are none
    int32_t dtype;                  // a nnlua_dtype
    int32_t ndim;                   // 0 for a single number
    int64_t shape[NNLUA_MAX_DIMS];  // sizes
    int64_t stride[NNLUA_MAX_DIMS]; // in elements, none negative
} nnlua_array;

// An array that is contiguous, row-major: nnlua_array_of(memory, NNLUA_FLOAT32, 2, (int64_t[]){10, 784}).
NNL_API nnlua_array nnlua_array_of(void *data, nnlua_dtype dtype, int ndim, const int64_t *shape);

// Called once, when nobody looks at the memory any more: at the latest when the state closes. It may run in
// the middle of any use of the state (the collector decides), so it must not call Lua.
typedef void nnlua_release(void *owner);

// Push a tensor over the host's own memory, which is not copied: scripts read and write it in place, views of
// it too. The memory must stay until `release` is called (which may be NULL for what outlives the state). On
// failure release is not called: the memory remains the caller's.
NNL_API nnlua_status nnlua_push_tensor(lua_State *L, const nnlua_array *array, nnlua_release *release,
                                       void *owner);

// Push a tensor with a copy of the host's elements.
NNL_API nnlua_status nnlua_push_copy(lua_State *L, const nnlua_array *array);

// 1 where a tensor is at this index of the stack, else 0.
NNL_API int nnlua_is_tensor(lua_State *L, int index);

// Where a tensor's elements lie: nothing is copied, and `array` is good as long as the tensor is on the
// stack, or Lua holds it elsewhere. After writing through it, call nnlua_changed.
NNL_API nnlua_status nnlua_get_array(lua_State *L, int index, nnlua_array *array);

// Tell that the host has written into a tensor's memory: a backward pass that still needs the old elements
// then raises an error instead of giving wrong gradients.
NNL_API nnlua_status nnlua_changed(lua_State *L, int index);

// ---- models

// Push a model from a file, as nn.load does, or from the bytes of a file, which are not needed afterwards.
// Weights are mapped from the file: any number of states and processes share one copy until they train.
// A file that is no model, but holds tensors, gives a table of them.
NNL_API nnlua_status nnlua_load(lua_State *L, const char *path);
NNL_API nnlua_status nnlua_load_bytes(lua_State *L, const void *bytes, size_t size);

// The model at `model` predicts for the tensor on top of the stack, a batch of inputs, without gradients, as
// model:predict does. The tensor is replaced by the prediction, whose elements are contiguous.
NNL_API nnlua_status nnlua_predict(lua_State *L, int model);

// The same between the host's own memory: `output` has room for the prediction, of just its dtype and shape
// (of any strides). Leaves the stack as it was.
NNL_API nnlua_status nnlua_predict_into(lua_State *L, int model, const nnlua_array *input,
                                        const nnlua_array *output);

// ---- scripts

// Run a file, or `size` bytes of Lua code called `name` in messages, with the `arguments` values on top of
// the stack, which are popped in any case. `results` values are pushed, LUA_MULTRET (-1) for as many as there
// are. The error's text has a traceback where Lua's debug library is open.
NNL_API nnlua_status nnlua_run_file(lua_State *L, const char *path, int arguments, int results);
NNL_API nnlua_status nnlua_run_string(lua_State *L, const char *code, size_t size, const char *name,
                                      int arguments, int results);

#ifdef __cplusplus
}
#endif

#endif
