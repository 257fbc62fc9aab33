// readers.c: nnlua.core.readers: files of tensors other than our own. What is wrong with a file comes back as
// nil and a message.
#include "bind/tensors.h"
#include "io/folder.h"
#include "io/idx.h"
#include "io/npy.h"
#include "io/source.h"

// The tensor, which is taken, or nil and a message.
static int push_read(lua_State *L, nnl_bind *bind, nnl_tensor **slot, nnl_tensor *t) {
    return t ? nnl_fill_slot(L, bind, slot, t) : nnl_fail_io(L, bind);
}

// readers.idx(path): a tensor.
static int read_idx(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const char *path = nnl_check_path(L, 1);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    return push_read(L, bind, slot, nnl_idx_read(bind->ctx, path));
}

// readers.records(path, size): a tensor (N, size) of uint8.
static int read_records(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const char *path = nnl_check_path(L, 1);
    int64_t size = nnl_check_integer(L, bind, 2);
    luaL_argcheck(L, size > 0, 2, "a record has at least one byte");
    nnl_tensor **slot = nnl_push_slot(L, bind);
    return push_read(L, bind, slot, nnl_records_read(bind->ctx, path, (size_t)size));
}

// ---- bytes

static int push_bytes(lua_State *L) {
    const nnl_bytes *bytes = lua_touserdata(L, 1);
    lua_pushlstring(L, bytes->length > 0 ? bytes->data : "", bytes->length);
    return 1;
}

static void free_bytes(void *bytes) { nnl_bytes_free(bytes); }

// readers.bytes(path): all of a file as a string.
static int read_bytes(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const char *path = nnl_check_path(L, 1);
    nnl_bytes bytes = {.ctx = bind->ctx};
    nnl_push_holding(L, push_bytes, &bytes);
    if (nnl_source_file(bind->ctx, path, &bytes) != NNL_OK) {
        nnl_bytes_free(&bytes);
        return nnl_fail_io(L, bind);
    }
    return nnl_run_holding(L, 0, 1, free_bytes, &bytes);
}

// ---- NumPy's files

// readers.npy(path[, whether to map it]): a tensor.
static int read_npy(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const char *path = nnl_check_path(L, 1);
    nnl_map_choice map = lua_isnoneornil(L, 2) ? NNL_MAP_LARGE
                         : lua_toboolean(L, 2) ? NNL_MAP_ALWAYS
                                               : NNL_MAP_NEVER;
    nnl_tensor **slot = nnl_push_slot(L, bind);
    return push_read(L, bind, slot, nnl_npy_load(bind->ctx, path, map));
}

// readers.write_npy(path, tensor): true.
static int write_npy(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const char *path = nnl_check_path(L, 1);
    const nnl_tensor *t = nnl_check_tensor(L, bind, 2);
    if (nnl_npy_save(bind->ctx, path, t) != NNL_OK) return nnl_fail_io(L, bind);
    lua_pushboolean(L, true);
    return 1;
}

// readers.npz(path): tensors by name, nothing, the names in the order of the file.
static int read_npz(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_safetensors set;
    const char *path = nnl_check_path(L, 1);
    nnl_push_holding(L, nnl_push_tensors, &set);
    if (nnl_npz_load(bind->ctx, path, &set) != NNL_OK) return nnl_fail_io(L, bind);
    return nnl_run_holding(L, 0, 3, nnl_free_tensors, &set);
}

// readers.write_npz(path, tensors by name, list of names, whether to compress): true.
static int write_npz(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_safetensors set = {.count = 0};
    const char *path = nnl_check_path(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 3, LUA_TTABLE);
    nnl_collect_tensors(L, bind, 2, 3, &set);
    if (nnl_npz_save(bind->ctx, path, &set, lua_toboolean(L, 4)) != NNL_OK) return nnl_fail_io(L, bind);
    lua_pushboolean(L, true);
    return 1;
}

// ---- folders

typedef struct names {
    nnl_bytes text, list;
} names;

static void free_names(void *held) {
    nnl_bytes_free(&((names *)held)->text);
    nnl_bytes_free(&((names *)held)->list);
}

static int push_names(lua_State *L) {
    const names *read = lua_touserdata(L, 1);
    const size_t *offsets = (const size_t *)read->list.data;
    size_t count = read->list.length / sizeof *offsets;
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, read->text.data + offsets[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

// readers.folder(path): the names in it, sorted.
static int read_folder(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const char *path = nnl_check_path(L, 1);
    names read = {.text.ctx = bind->ctx, .list.ctx = bind->ctx};
    nnl_push_holding(L, push_names, &read);
    if (nnl_folder_read(bind->ctx, path, &read.text, &read.list) != NNL_OK) {
        free_names(&read);
        return nnl_fail_io(L, bind);
    }
    return nnl_run_holding(L, 0, 1, free_names, &read);
}

void nnl_open_readers(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"idx", read_idx},        {"records", read_records}, {"npy", read_npy},
        {"write_npy", write_npy}, {"npz", read_npz},         {"write_npz", write_npz},
        {"folder", read_folder},  {"bytes", read_bytes},     {NULL, NULL}};
    lua_newtable(L);
    nnl_set_functions(L, functions);
    lua_setfield(L, NNL_CORE_INDEX, "readers");
}
