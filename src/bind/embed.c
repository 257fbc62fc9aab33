// embed.c: the embedding API (nnlua.h) as a host in C sees it: every function runs its body protected, and
// turns Lua's errors into a status and a text. What an entry needs lies in the registry since the library was
// opened, so that entering takes no memory: the function below which every body runs, and a place for the
// error.
#include "nnlua.h"

#include "bind/bind.h"

#include <string.h>

_Static_assert(NNLUA_MAX_DIMS == NNL_MAX_DIMS, "an array has room for every tensor's sizes");
_Static_assert((int)NNLUA_FLOAT32 == NNL_FLOAT32 && (int)NNLUA_FLOAT64 == NNL_FLOAT64 &&
                   (int)NNLUA_INT64 == NNL_INT64 && (int)NNLUA_INT32 == NNL_INT32 &&
                   (int)NNLUA_UINT8 == NNL_UINT8 && (int)NNLUA_BOOL == NNL_BOOL &&
                   (int)NNLUA_BFLOAT16 == NNL_BFLOAT16 && (int)NNLUA_FLOAT16 == NNL_FLOAT16,
               "dtypes have the engine's numbers");

// Keys of the registry, by their address.
static const char enter_key, error_key, handler_key;

int nnlua_abi_version(void) { return NNLUA_ABI; }
const char *nnlua_version(void) { return NNLUA_VERSION; }

// ---- entering

// What a body is given; it finds the values that were passed on the stack from index 1.
typedef struct entry {
    int (*body)(lua_State *L, nnl_bind *bind, struct entry *entry); // returns its number of results
    nnlua_status status; // of a failure, where the body knows better than that Lua raised it
    const nnlua_array *array, *output;
    nnlua_array *out;
    nnlua_release *release;
    void *owner;
    const char *text, *name;
    size_t size;
    int results;
} entry;

// The function below which every body runs: upvalue 1 is the state, as of all our functions.
static int enter(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    entry *e = lua_touserdata(L, 1);
    lua_remove(L, 1);
    nnl_error_clear(bind->ctx);
    return e->body(L, bind, e);
}

// An error's text, with a traceback where there is a debug library.
static int add_traceback(lua_State *L) {
    lua_settop(L, 1);
    luaL_tolstring(L, 1, NULL);
    nnl_lua_push_loaded(L);
    lua_getfield(L, -1, "debug");
    if (lua_type(L, -1) == LUA_TTABLE) lua_getfield(L, -1, "traceback");
    if (lua_type(L, -1) == LUA_TFUNCTION) {
        lua_pushvalue(L, 2);
        lua_pushinteger(L, 2);
        lua_call(L, 2, 1);
        return 1;
    }
    lua_settop(L, 2);
    return 1;
}

void nnl_open_embed(lua_State *L) {
    nnl_push_function(L, enter, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &enter_key);
    lua_pushcfunction(L, add_traceback);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handler_key);
    lua_pushboolean(L, false);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
}

// The error on top, popped, becomes the last one. The place is there already: this takes no memory.
static void keep_error(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &error_key);
    bool has_place = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (has_place) {
        lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
    } else {
        lua_pop(L, 1);
    }
}

const char *nnlua_error(lua_State *L) {
    if (!lua_checkstack(L, 2)) return "out of memory: Lua's stack is full";
    lua_rawgetp(L, LUA_REGISTRYINDEX, &error_key);
    int type = lua_type(L, -1);
    const char *text = type == LUA_TSTRING ? lua_tostring(L, -1) : NULL; // the registry keeps it
    lua_pop(L, 1);
    if (text) return text;
    if (type == LUA_TNIL) return "nnlua is not open in this state: call nnlua_open first";
    return type == LUA_TBOOLEAN ? "no error" : "an error that is no text";
}

static bool is_engine_out_of_memory(lua_State *L, const nnl_bind *bind) {
    if (bind->ctx->status != NNL_ERR_MEMORY || lua_type(L, -1) != LUA_TSTRING) return false;
    return strstr(lua_tostring(L, -1), bind->ctx->error) != NULL;
}

static nnlua_status status_of(lua_State *L, int outcome, const entry *e) {
    if (outcome == LUA_ERRMEM) return NNLUA_ERR_MEMORY;
    if (e->status != NNLUA_OK) return e->status;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &enter_key);
    lua_getupvalue(L, -1, 1);
    const nnl_bind *bind = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return is_engine_out_of_memory(L, bind) ? NNLUA_ERR_MEMORY : NNLUA_ERR_LUA;
}

// Whether the library is open here and the stack has room for what an entry pushes.
static nnlua_status ready(lua_State *L) {
    if (!lua_checkstack(L, LUA_MINSTACK)) return NNLUA_ERR_MEMORY;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &enter_key);
    bool open = lua_type(L, -1) == LUA_TFUNCTION;
    lua_pop(L, 1);
    return open ? NNLUA_OK : NNLUA_ERR_CLOSED;
}

// Runs the body of an entry with the `arguments` values on top, popped.
static nnlua_status call(lua_State *L, entry *e, int arguments, int results, bool traced) {
    int base = lua_gettop(L) - arguments + 1;
    if (traced) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &handler_key);
        lua_insert(L, base);
    }
    int function = traced ? base + 1 : base;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &enter_key);
    lua_insert(L, function);
    lua_pushlightuserdata(L, e);
    lua_insert(L, function + 1);
    int outcome = lua_pcall(L, arguments + 1, results, traced ? base : 0);
    if (traced) lua_remove(L, base);
    if (outcome == LUA_OK) return NNLUA_OK;
    nnlua_status status = status_of(L, outcome, e);
    keep_error(L);
    return status;
}

static int refuse(lua_State *L, entry *e, nnlua_status status, const char *format, const char *detail) {
    e->status = status;
    return nnl_error(L, format, detail);
}

// ---- opening

static int open_library(lua_State *L) {
    nnl_lua_push_loaded(L);
    lua_getfield(L, -1, "nnlua");
    bool loaded = lua_toboolean(L, -1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &enter_key);
    if (loaded && lua_type(L, -1) != LUA_TFUNCTION)
        return luaL_error(L,
                          "another copy of nnlua is loaded in this state: call nnlua_open or nnlua_preload "
                          "before a script requires it");
    if (loaded) return 0;
    lua_settop(L, 2);
    lua_pushboolean(L, false); // where an error of loading finds its place
    lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
    lua_pushcfunction(L, luaopen_nnlua);
    lua_call(L, 0, 1);
    nnl_lua_push_loaded(L);
    lua_insert(L, -2);
    lua_setfield(L, -2, "nnlua");
    return 0;
}

nnlua_status nnlua_open(lua_State *L) {
    int top = lua_gettop(L);
    int outcome = nnl_lua_protect(L, open_library, NULL);
    if (outcome == LUA_OK) return NNLUA_OK;
    if (lua_gettop(L) > top) keep_error(L);
    return outcome == LUA_ERRMEM ? NNLUA_ERR_MEMORY : NNLUA_ERR_LUA;
}

// ---- tensors

nnlua_array nnlua_array_of(void *data, nnlua_dtype dtype, int ndim, const int64_t *shape) {
    nnlua_array array = {.data = data, .dtype = (int32_t)dtype, .ndim = ndim};
    uint64_t step =
        1; // wraps around where no memory could hold it; the sizes are checked where they are used
    for (int d = (ndim < NNLUA_MAX_DIMS ? ndim : NNLUA_MAX_DIMS) - 1; d >= 0; d--) {
        array.shape[d] = shape[d];
        array.stride[d] = (int64_t)step;
        step *= (uint64_t)shape[d];
    }
    return array;
}

// From the first element to the last, in elements; -1 where that is no size memory can have.
static int64_t extent_of(const nnlua_array *array) {
    int64_t last = 0, part;
    for (int d = 0; d < array->ndim; d++) {
        if (array->shape[d] == 0) return 0;
        if (array->stride[d] < 0) return -1;
        if (__builtin_mul_overflow(array->shape[d] - 1, array->stride[d], &part)) return -1;
        if (__builtin_add_overflow(last, part, &last)) return -1;
    }
    return last < INT64_MAX / 16 ? last + 1 : -1;
}

// What is wrong with an array of the host's, or NULL; its shape.
static const char *check_array(const nnlua_array *array, nnl_shape *shape) {
    if (!array) return "no array was given";
    if (array->dtype < 0 || array->dtype >= NNL_DTYPE_COUNT) return "there is no such dtype";
    if (array->ndim < 0 || array->ndim > NNLUA_MAX_DIMS) return "0 to 8 dimensions expected";
    *shape = (nnl_shape){.ndim = array->ndim};
    for (int d = 0; d < array->ndim; d++) {
        shape->size[d] = array->shape[d];
        if (shape->size[d] < 0) return "a size is negative";
    }
    int64_t extent = extent_of(array);
    if (extent < 0) return "a stride is negative, or the memory is larger than there can be";
    if (extent > 0 && !array->data) return "the memory is NULL";
    if ((uintptr_t)array->data % nnl_dtype_size((nnl_dtype)array->dtype) != 0)
        return "the memory is not aligned to its elements";
    return NULL;
}

// Over the memory of an array that was checked. Nobody is told yet when it is let go of. Returns new.
static nnl_tensor *look_at(nnl_context *ctx, const nnlua_array *array, const nnl_shape *shape) {
    nnl_shape line = {.ndim = 1, .size = {extent_of(array)}};
    if (nnl_shape_check(ctx, "array", shape, nnl_dtype_size((nnl_dtype)array->dtype)) != NNL_OK) return NULL;
    nnl_tensor *all = nnl_tensor_over(ctx, (nnl_dtype)array->dtype, &line, array->data, NULL, NULL);
    nnl_tensor *look = all ? nnl_tensor_alias(all, shape, array->stride, 0) : NULL;
    nnl_tensor_release(all);
    if (look) nnl_tensor_stand_alone(look);
    return look;
}

static int push_tensor(lua_State *L, nnl_bind *bind, entry *e) {
    nnl_shape shape;
    const char *problem = check_array(e->array, &shape);
    if (problem) return refuse(L, e, NNLUA_ERR_ARGUMENT, "nnlua_push_tensor: %s", problem);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    nnl_fill_slot(L, bind, slot, look_at(bind->ctx, e->array, &shape));
    (*slot)->storage->owner = e->owner;
    (*slot)->storage->release = e->release;
    return 1;
}

nnlua_status nnlua_push_tensor(lua_State *L, const nnlua_array *array, nnlua_release *release, void *owner) {
    entry e = {.body = push_tensor, .array = array, .release = release, .owner = owner};
    nnlua_status status = ready(L);
    return status == NNLUA_OK ? call(L, &e, 0, 1, false) : status;
}

// A copy of the array's elements, pushed.
static nnl_tensor *copy_in(lua_State *L, nnl_bind *bind, entry *e, const char *who) {
    nnl_shape shape;
    const char *problem = check_array(e->array, &shape);
    if (problem) {
        lua_pushfstring(L, "%s: %s", who, problem);
        refuse(L, e, NNLUA_ERR_ARGUMENT, "%s", lua_tostring(L, -1));
    }
    nnl_tensor **look = nnl_push_slot(L, bind), **copy = nnl_push_slot(L, bind);
    nnl_fill_slot(L, bind, look, look_at(bind->ctx, e->array, &shape));
    nnl_fill_slot(L, bind, copy, nnl_tensor_new(bind->ctx, (*look)->dtype, &shape));
    nnl_apply_copy(*copy, *look);
    nnl_tensor_release(*look);
    *look = NULL; // the memory is the host's alone again
    lua_remove(L, -2);
    return *copy;
}

static int push_copy(lua_State *L, nnl_bind *bind, entry *e) {
    copy_in(L, bind, e, "nnlua_push_copy");
    return 1;
}

nnlua_status nnlua_push_copy(lua_State *L, const nnlua_array *array) {
    entry e = {.body = push_copy, .array = array};
    nnlua_status status = ready(L);
    return status == NNLUA_OK ? call(L, &e, 0, 1, false) : status;
}

static nnl_tensor *check_one(lua_State *L, nnl_bind *bind, entry *e) {
    nnl_tensor *t = nnl_to_tensor(L, bind, 1);
    if (!t) refuse(L, e, NNLUA_ERR_ARGUMENT, "a tensor expected, got %s", nnl_type_name(L, bind, 1));
    return t;
}

static int get_array(lua_State *L, nnl_bind *bind, entry *e) {
    nnl_tensor *t = check_one(L, bind, e);
    *e->out = (nnlua_array){.data = nnl_tensor_data(t), .dtype = (int32_t)t->dtype, .ndim = t->shape.ndim};
    for (int d = 0; d < t->shape.ndim; d++) {
        e->out->shape[d] = t->shape.size[d];
        e->out->stride[d] = t->stride[d];
    }
    return 0;
}

static int mark_changed(lua_State *L, nnl_bind *bind, entry *e) {
    nnl_tensor_changed(check_one(L, bind, e));
    return 0;
}

static int no_body(lua_State *L, nnl_bind *bind, entry *e) {
    check_one(L, bind, e);
    return 0;
}

// The body gets the value at `index`.
static nnlua_status call_on(lua_State *L, entry *e, int index) {
    nnlua_status status = ready(L);
    if (status != NNLUA_OK) return status;
    lua_pushvalue(L, index);
    return call(L, e, 1, 0, false);
}

int nnlua_is_tensor(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TUSERDATA) return 0;
    entry e = {.body = no_body};
    return call_on(L, &e, index) == NNLUA_OK;
}

nnlua_status nnlua_get_array(lua_State *L, int index, nnlua_array *array) {
    entry e = {.body = get_array, .out = array};
    return call_on(L, &e, index);
}

nnlua_status nnlua_changed(lua_State *L, int index) {
    entry e = {.body = mark_changed};
    return call_on(L, &e, index);
}

// ---- models

static void push_library(lua_State *L, const char *function) {
    nnl_lua_push_loaded(L);
    lua_getfield(L, -1, "nnlua");
    lua_getfield(L, -1, function);
    lua_insert(L, -3);
    lua_pop(L, 2);
}

// nn.load or nn.load_bytes: what is wrong with the file comes back as nil and a message.
static int load(lua_State *L, nnl_bind *bind, entry *e) {
    (void)bind;
    push_library(L, e->name);
    if (!e->text) return refuse(L, e, NNLUA_ERR_ARGUMENT, "%s", "nnlua_load: the file is NULL");
    lua_pushlstring(L, e->text, e->size);
    lua_call(L, 1, 2);
    if (lua_isnil(L, -2)) return refuse(L, e, NNLUA_ERR_FILE, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    return 1;
}

nnlua_status nnlua_load(lua_State *L, const char *path) {
    entry e = {.body = load, .name = "load", .text = path, .size = path ? strlen(path) : 0};
    nnlua_status status = ready(L);
    return status == NNLUA_OK ? call(L, &e, 0, 1, false) : status;
}

nnlua_status nnlua_load_bytes(lua_State *L, const void *bytes, size_t size) {
    entry e = {.body = load, .name = "load_bytes", .text = bytes, .size = size};
    nnlua_status status = ready(L);
    return status == NNLUA_OK ? call(L, &e, 0, 1, false) : status;
}

// The model at 1 and the input at 2 give the prediction, contiguous, on top.
static nnl_tensor *predict_one(lua_State *L, nnl_bind *bind, entry *e) {
    bool indexable = lua_type(L, 1) == LUA_TTABLE || lua_type(L, 1) == LUA_TUSERDATA;
    if (indexable && !nnl_to_tensor(L, bind, 1)) lua_getfield(L, 1, "predict");
    if (!lua_isfunction(L, -1))
        refuse(L, e, NNLUA_ERR_ARGUMENT, "nnlua_predict: a model expected, got %s",
               nnl_type_name(L, bind, 1));
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 1);
    nnl_tensor *prediction = nnl_to_tensor(L, bind, -1);
    if (!prediction)
        refuse(L, e, NNLUA_ERR_LUA, "nnlua_predict: the model gave no tensor, but %s",
               nnl_type_name(L, bind, -1));
    nnl_tensor **slot = nnl_push_slot(L, bind);
    nnl_fill_slot(L, bind, slot, nnl_contiguous(bind->ctx, prediction));
    nnl_check_interrupted(L, bind);
    return *slot;
}

static int predict(lua_State *L, nnl_bind *bind, entry *e) {
    if (!nnl_to_tensor(L, bind, 2))
        refuse(L, e, NNLUA_ERR_ARGUMENT, "nnlua_predict: a tensor expected, got %s",
               nnl_type_name(L, bind, 2));
    predict_one(L, bind, e);
    return 1;
}

nnlua_status nnlua_predict(lua_State *L, int model) {
    entry e = {.body = predict};
    nnlua_status status = ready(L);
    if (status != NNLUA_OK) return status;
    model = lua_absindex(L, model);
    lua_pushvalue(L, model);
    lua_pushvalue(L, -2);
    status = call(L, &e, 2, 1, false);
    if (status == NNLUA_OK) lua_replace(L, -2);
    return status;
}

static int predict_into(lua_State *L, nnl_bind *bind, entry *e) {
    nnl_shape shape;
    char asked[NNL_SHAPE_TEXT], given[NNL_SHAPE_TEXT];
    const char *problem = check_array(e->output, &shape);
    if (problem) refuse(L, e, NNLUA_ERR_ARGUMENT, "nnlua_predict_into: output: %s", problem);
    copy_in(L, bind, e, "nnlua_predict_into: input");
    nnl_tensor *t = predict_one(L, bind, e);
    if ((int)t->dtype != e->output->dtype || !nnl_shape_equal(&t->shape, &shape)) {
        lua_pushfstring(L, "the prediction is %s %s, the output %s %s", nnl_dtype_get(t->dtype)->name,
                        nnl_shape_text(&t->shape, asked), nnl_dtype_get((nnl_dtype)e->output->dtype)->name,
                        nnl_shape_text(&shape, given));
        refuse(L, e, NNLUA_ERR_ARGUMENT, "nnlua_predict_into: %s", lua_tostring(L, -1));
    }
    nnl_tensor **slot = nnl_push_slot(L, bind);
    nnl_fill_slot(L, bind, slot, look_at(bind->ctx, e->output, &shape));
    nnl_apply_copy(*slot, t);
    nnl_tensor_release(*slot);
    *slot = NULL;
    return 0;
}

nnlua_status nnlua_predict_into(lua_State *L, int model, const nnlua_array *input,
                                const nnlua_array *output) {
    entry e = {.body = predict_into, .array = input, .output = output};
    return call_on(L, &e, model);
}

// ---- scripts

static int run(lua_State *L, nnl_bind *bind, entry *e) {
    (void)bind;
    if (!e->name) return refuse(L, e, NNLUA_ERR_ARGUMENT, "%s", "nnlua_run: the file or the code is NULL");
    int outcome = e->text ? luaL_loadbuffer(L, e->text, e->size, e->name) : luaL_loadfile(L, e->name);
    if (outcome == LUA_ERRFILE) e->status = NNLUA_ERR_FILE;
    if (outcome == LUA_ERRMEM) e->status = NNLUA_ERR_MEMORY;
    if (outcome != LUA_OK) return lua_error(L);
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, e->results);
    return lua_gettop(L);
}

// Also pops the arguments where nothing could be run.
static nnlua_status run_entry(lua_State *L, entry *e, int arguments) {
    nnlua_status status = ready(L);
    if (status == NNLUA_OK) return call(L, e, arguments, e->results, true);
    lua_pop(L, arguments);
    return status;
}

nnlua_status nnlua_run_file(lua_State *L, const char *path, int arguments, int results) {
    entry e = {.body = run, .name = path, .results = results};
    return run_entry(L, &e, arguments);
}

nnlua_status nnlua_run_string(lua_State *L, const char *code, size_t size, const char *name, int arguments,
                              int results) {
    const char *known = code && !name ? "=(host)" : name;
    entry e = {.body = run, .text = code, .size = size, .name = code ? known : NULL, .results = results};
    return run_entry(L, &e, arguments);
}
