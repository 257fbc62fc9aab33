// readers.c: nnlua.core.readers: files of tensors other than our own. What is wrong with a file comes back as
// nil and a message.
#include "bind/bind.h"
#include "io/folder.h"
#include "io/idx.h"

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
        {"idx", read_idx}, {"records", read_records}, {"folder", read_folder}, {NULL, NULL}};
    lua_newtable(L);
    nnl_set_functions(L, functions);
    lua_setfield(L, NNL_CORE_INDEX, "readers");
}
