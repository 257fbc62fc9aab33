// memory.c: tensors and the host's memory, both ways, and every status that a function can give.
#include "host.h"

static int released;

static void count_release(void *owner) { ++*(int *)owner; }

static nnlua_array matrix_of(float *data, int64_t rows, int64_t columns) {
    const int64_t shape[2] = {rows, columns};
    return nnlua_array_of(data, NNLUA_FLOAT32, 2, shape);
}

// Scripts see and change the host's own floats, and so do views; the host is told once that nobody does any
// more.
static void test_shared(lua_State *L) {
    float data[6] = {1, 2, 3, 4, 5, 6};
    nnlua_array array = matrix_of(data, 2, 3), back;
    released = 0;
    MUST(L, nnlua_push_tensor(L, &array, count_release, &released));
    CHECK(nnlua_is_tensor(L, -1));
    MUST(L, nnlua_get_array(L, -1, &back));
    CHECK(back.data == data && back.dtype == NNLUA_FLOAT32 && back.ndim == 2);
    CHECK(back.shape[0] == 2 && back.shape[1] == 3 && back.stride[0] == 3 && back.stride[1] == 1);
    lua_setglobal(L, "x");
    CHECK(host_number(L, "x:sum():item()") == 21);
    host_run(L, "x[{2, 1}] = 40; view = x:t(); x = nil; view[{3, 1}] = 30; collectgarbage()");
    CHECK(data[3] == 40 && data[2] == 30 && released == 0);
    lua_getglobal(L, "view");
    MUST(L, nnlua_get_array(L, -1, &back));
    CHECK(back.data == data && back.shape[0] == 3 && back.stride[0] == 1 && back.stride[1] == 3);
    lua_pop(L, 1);
    host_run(L, "view = nil; collectgarbage(); collectgarbage()");
    CHECK(released == 1);
}

// Any strides: here a column-major matrix, and every second number of a line.
static void test_strided(lua_State *L) {
    double column_major[6] = {1, 4, 2, 5, 3, 6};
    nnlua_array array = {column_major, NNLUA_FLOAT64, 2, {2, 3}, {1, 2}};
    MUST(L, nnlua_push_tensor(L, &array, NULL, NULL));
    lua_setglobal(L, "m");
    CHECK(host_number(L, "m[{2, 1}] * 100 + m[{1, 3}]") == 403);
    host_run(L, "m:mul_(2); m = nil; collectgarbage()");
    CHECK(column_major[1] == 8 && column_major[4] == 6);

    int64_t line[5] = {1, -1, 2, -1, 3};
    nnlua_array odd = {line, NNLUA_INT64, 1, {3}, {2}};
    MUST(L, nnlua_push_copy(L, &odd));
    line[0] = 100; // a copy does not see it
    lua_setglobal(L, "odd");
    CHECK(host_number(L, "odd:sum():item()") == 6);
    host_run(L, "assert(odd.dtype == 'int64'); odd = nil");
}

static void test_few_elements(lua_State *L) {
    float one = 7;
    nnlua_array number = nnlua_array_of(&one, NNLUA_FLOAT32, 0, NULL), nothing = matrix_of(NULL, 0, 3);
    MUST(L, nnlua_push_tensor(L, &number, NULL, NULL));
    lua_setglobal(L, "number");
    CHECK(host_number(L, "number:item()") == 7);
    released = 0;
    MUST(L, nnlua_push_tensor(L, &nothing, count_release, &released));
    lua_setglobal(L, "nothing");
    CHECK(host_number(L, "nothing:numel() + #nothing.shape") == 2);
    host_run(L, "number, nothing = nil, nil; collectgarbage(); collectgarbage()");
    CHECK(released == 1);
}

static void refused(lua_State *L, nnlua_status expected, nnlua_status got, const char *text) {
    if (got == expected && strstr(nnlua_error(L), text)) return;
    fprintf(stderr, "status %d, expected %d; '%s', expected '%s'\n", (int)got, (int)expected, nnlua_error(L),
            text);
    exit(1);
}

static void test_bad_arrays(lua_State *L) {
    float data[8] = {0};
    int top = lua_gettop(L);
    nnlua_array a = matrix_of(data, 2, 3), bad = a;
    released = 0;
#define REFUSED(text)                                                                                        \
    refused(L, NNLUA_ERR_ARGUMENT, nnlua_push_tensor(L, &bad, count_release, &released), text), bad = a
    bad.dtype = 99, REFUSED("dtype");
    bad.dtype = -1, REFUSED("dtype");
    bad.ndim = 9, REFUSED("dimensions");
    bad.ndim = -1, REFUSED("dimensions");
    bad.shape[1] = -3, REFUSED("negative");
    bad.stride[0] = -3, REFUSED("negative");
    bad.data = NULL, REFUSED("NULL");
    bad.data = (char *)data + 1, REFUSED("aligned");
    bad.shape[0] = INT64_MAX, REFUSED("larger");
    bad.stride[0] = INT64_MAX / 2, bad.shape[0] = 4, REFUSED("larger");
    refused(L, NNLUA_ERR_ARGUMENT, nnlua_push_tensor(L, NULL, NULL, NULL), "no array");
    refused(L, NNLUA_ERR_ARGUMENT, nnlua_push_copy(L, NULL), "no array");
    CHECK(released == 0 && lua_gettop(L) == top);
    lua_pushinteger(L, 3);
    refused(L, NNLUA_ERR_ARGUMENT, nnlua_get_array(L, -1, &bad), "number");
    refused(L, NNLUA_ERR_ARGUMENT, nnlua_changed(L, -1), "tensor expected");
    CHECK(!nnlua_is_tensor(L, -1) && !nnlua_is_tensor(L, 100));
    lua_pop(L, 1);
}

// What the host writes is noticed by a backward pass that needed the old numbers.
static void test_changed(lua_State *L) {
    float data[3] = {1, 2, 3};
    const int64_t shape[1] = {3};
    nnlua_array array = nnlua_array_of(data, NNLUA_FLOAT32, 1, shape);
    MUST(L, nnlua_push_tensor(L, &array, NULL, NULL));
    lua_pushvalue(L, -1);
    lua_setglobal(L, "x");
    host_run(L, "w = require('nnlua').ones(3, {requires_grad = true}); loss = (w * x):sum()");
    data[1] = 20;
    MUST(L, nnlua_changed(L, -1));
    const char *code = "loss:backward()";
    refused(L, NNLUA_ERR_LUA, nnlua_run_string(L, code, strlen(code), "=late", 0, 0), "late:1: ");
    host_run(L, "loss = (w * x):sum(); loss:backward(); assert(w.grad[2] == 20); w, x, loss = nil");
    lua_pop(L, 1);
}

static void test_scripts(lua_State *L) {
    int top = lua_gettop(L);
    const char *sum = "local a, b = ... return a + b, 'second'";
    lua_pushinteger(L, 2);
    lua_pushinteger(L, 3);
    MUST(L, nnlua_run_string(L, sum, strlen(sum), "=sum", 2, LUA_MULTRET));
    CHECK(lua_gettop(L) == top + 2 && lua_tonumber(L, -2) == 5);
    lua_settop(L, top);
    const char *deep = "local function inner() error('on purpose') end\ninner()";
    refused(L, NNLUA_ERR_LUA, nnlua_run_string(L, deep, strlen(deep), "=deep", 0, 0), "deep:1: on purpose");
    CHECK(strstr(nnlua_error(L), "stack traceback:") && strstr(nnlua_error(L), "deep:2:"));
    lua_pushinteger(L, 1);
    refused(L, NNLUA_ERR_LUA, nnlua_run_string(L, "x =", 3, "=syntax", 1, 1), "syntax:1:");
    refused(L, NNLUA_ERR_LUA, nnlua_run_string(L, "error({})", 9, NULL, 0, 0), "table");
    refused(L, NNLUA_ERR_FILE, nnlua_run_file(L, "/no/such/file.lua", 0, 0), "/no/such/file.lua");
    refused(L, NNLUA_ERR_ARGUMENT, nnlua_run_file(L, NULL, 0, 0), "NULL");
    const char *huge = "require('nnlua').set_memory_limit(1e6); return require('nnlua').zeros(1e6)";
    refused(L, NNLUA_ERR_MEMORY, nnlua_run_string(L, huge, strlen(huge), "=huge", 0, 1), "out of memory");
    host_run(L, "require('nnlua').set_memory_limit()");
    CHECK(lua_gettop(L) == top);
}

static void test_models(lua_State *L, const char *path) {
    int top = lua_gettop(L);
    float in[4] = {1, 2, 3, 4}, out[6] = {0}, expected[6];
    nnlua_array input = matrix_of(in, 2, 2), output = matrix_of(out, 2, 3), got;
    host_run(L, "nn = require 'nnlua'; model = nn.Sequential{nn.Dense(2, 3), nn.Tanh(), nn.Dropout(0.5)}");
    lua_pushstring(L, path);
    lua_setglobal(L, "path");
    host_run(L, "assert(model:save(path)); file = assert(io.open(path, 'rb')); bytes = file:read('*a'); "
                "file:close()");
    MUST(L, nnlua_load(L, path));
    MUST(L, nnlua_push_copy(L, &input));
    MUST(L, nnlua_predict(L, -2));
    MUST(L, nnlua_get_array(L, -1, &got));
    CHECK(got.shape[0] == 2 && got.shape[1] == 3 && got.dtype == NNLUA_FLOAT32);
    memcpy(expected, got.data, sizeof expected);
    MUST(L, nnlua_predict_into(L, -2, &input, &output));
    CHECK(memcmp(out, expected, sizeof out) == 0);
    output.shape[1] = 2;
    refused(L, NNLUA_ERR_ARGUMENT, nnlua_predict_into(L, -2, &input, &output), "(2, 3)");
    input.shape[1] = 1;
    refused(L, NNLUA_ERR_LUA, nnlua_predict_into(L, -2, &input, &output), "Dense");
    lua_settop(L, top + 1);
    refused(L, NNLUA_ERR_ARGUMENT, nnlua_predict(L, 1), "tensor");
    lua_settop(L, top);

    size_t size = 0;
    lua_getglobal(L, "bytes");
    const char *bytes = lua_tolstring(L, -1, &size);
    MUST(L, nnlua_load_bytes(L, bytes, size));
    output = matrix_of(out, 2, 3), input = matrix_of(in, 2, 2);
    memset(out, 0, sizeof out);
    MUST(L, nnlua_predict_into(L, -1, &input, &output));
    CHECK(memcmp(out, expected, sizeof out) == 0);
    refused(L, NNLUA_ERR_FILE, nnlua_load_bytes(L, bytes, size / 2), "safetensors");
    refused(L, NNLUA_ERR_FILE, nnlua_load(L, "/no/such/model"), "/no/such/model");
    refused(L, NNLUA_ERR_ARGUMENT, nnlua_load(L, NULL), "NULL");
    lua_settop(L, top);
}

// The state closes while scripts hold the memory.
static void test_close(lua_State *L) {
    static float data[1000];
    nnlua_array array = matrix_of(data, 10, 100);
    released = 0;
    MUST(L, nnlua_push_tensor(L, &array, count_release, &released));
    lua_setglobal(L, "held");
    host_run(L,
             "nn = require 'nnlua'; w = nn.ones(10, 100, {requires_grad = true}); loss = (w * held):sum()");
    lua_close(L);
    CHECK(released == 1);
}

static void test_closed(void) {
    lua_State *L = luaL_newstate();
    float data[1] = {0};
    nnlua_array array = matrix_of(data, 1, 1);
    refused(L, NNLUA_ERR_CLOSED, nnlua_push_tensor(L, &array, NULL, NULL), "nnlua_open");
    CHECK(!nnlua_is_tensor(L, 1) && lua_gettop(L) == 0);
    lua_close(L);

    L = luaL_newstate(); // of no libraries at all
    CHECK(nnlua_open(L) == NNLUA_ERR_LUA && lua_gettop(L) == 0);
    luaL_openlibs(L);
    MUST(L, nnlua_open(L));
    MUST(L, nnlua_open(L));
    CHECK(lua_gettop(L) == 0);
    host_run(L, "assert(require('nnlua') == package.loaded.nnlua)");
    lua_close(L);
}

int main(void) {
    char path[] = "/tmp/nnlua_memory_XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 0 && nnlua_abi_version() == NNLUA_ABI && strcmp(nnlua_version(), NNLUA_VERSION) == 0);
    lua_State *L = host_open();
    CHECK(strcmp(nnlua_error(L), "no error") == 0);
    test_shared(L);
    test_strided(L);
    test_few_elements(L);
    test_bad_arrays(L);
    test_changed(L);
    test_scripts(L);
    test_models(L, path);
    test_close(L);
    test_closed();
    remove(path);
    return 0;
}
