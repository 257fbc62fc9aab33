// io.c: files of tensors. What is wrong with a file comes back as nil and a message.
#include "bind/tensors.h"

#include <stdlib.h>
#include <string.h>

void nnl_push_holding(lua_State *L, lua_CFunction body, void *held) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, body, 1);
    lua_pushlightuserdata(L, held);
}

int nnl_run_holding(lua_State *L, int arguments, int results, void (*release)(void *held), void *held) {
    int status = lua_pcall(L, 1 + arguments, results, 0);
    release(held);
    if (status == LUA_OK) return results;
    if (status == LUA_ERRRUN && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

int nnl_fail_io(lua_State *L, nnl_bind *bind) {
    if (bind->ctx->status != NNL_ERR_IO) return nnl_raise(L, bind);
    lua_pushnil(L);
    lua_pushstring(L, bind->ctx->error);
    return 2;
}

const char *nnl_check_path(lua_State *L, int arg) {
    size_t length;
    const char *path = luaL_checklstring(L, arg, &length);
    luaL_argcheck(L, strlen(path) == length, arg, "a path has no zero bytes");
    return path;
}

// ---- loading tensors

void nnl_free_tensors(void *set) { nnl_safetensors_free(set); }

static void push_tensors(lua_State *L, nnl_bind *bind, const nnl_safetensors *set) {
    lua_createtable(L, 0, (int)set->count);
    for (size_t i = 0; i < set->count; i++) {
        lua_pushlstring(L, set->tensors[i].name, set->tensors[i].name_length);
        nnl_tensor **slot = nnl_push_slot(L, bind);
        *slot = nnl_tensor_retain(set->tensors[i].tensor);
        lua_rawset(L, -3);
    }
}

static void push_metadata(lua_State *L, const nnl_safetensors *set) {
    lua_createtable(L, 0, (int)set->metadata_count);
    for (size_t i = 0; i < set->metadata_count; i++) {
        lua_pushlstring(L, set->metadata[i].key, set->metadata[i].key_length);
        lua_pushlstring(L, set->metadata[i].value, set->metadata[i].value_length);
        lua_rawset(L, -3);
    }
}

int nnl_push_tensors(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_safetensors *set = lua_touserdata(L, 1);
    push_tensors(L, bind, set);
    push_metadata(L, set);
    lua_createtable(L, (int)set->count, 0);
    for (size_t i = 0; i < set->count; i++) {
        lua_pushlstring(L, set->tensors[i].name, set->tensors[i].name_length);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 3;
}

// core.load_tensors(path[, nil, whether to map it]), or (nil, bytes): tensors by name, metadata, the names in
// the order of the file.
static int load_tensors(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_safetensors set;
    size_t size = 0;
    bool from_file = !lua_isnoneornil(L, 1), map = lua_isnoneornil(L, 3) || lua_toboolean(L, 3);
    const char *path = from_file ? nnl_check_path(L, 1) : NULL;
    const char *bytes = from_file ? NULL : luaL_checklstring(L, 2, &size);
    nnl_push_holding(L, nnl_push_tensors, &set);
    nnl_status status = from_file ? nnl_safetensors_load(bind->ctx, path, map, &set)
                                  : nnl_safetensors_parse(bind->ctx, bytes, size, &set);
    if (status != NNL_OK) return nnl_fail_io(L, bind);
    return nnl_run_holding(L, 0, 3, nnl_free_tensors, &set);
}

// ---- saving tensors: names and texts are borrowed from the tables on Lua's stack

static size_t count_items(lua_State *L, int table) {
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) count++;
    return count;
}

// The pair at the top: a name and a tensor.
static nnl_named_tensor check_named(lua_State *L, nnl_bind *bind) {
    nnl_named_tensor named = {.tensor = nnl_to_tensor(L, bind, -1)};
    if (lua_type(L, -2) != LUA_TSTRING)
        nnl_error(L, "save_tensors: a tensor's name must be a string, got %s", nnl_type_name(L, bind, -2));
    named.name = lua_tolstring(L, -2, &named.name_length);
    if (!named.tensor)
        nnl_error(L, "save_tensors: '%s' must be a tensor, got %s", named.name, nnl_type_name(L, bind, -1));
    return named;
}

static void collect_by_name(lua_State *L, nnl_bind *bind, int table, nnl_safetensors *set) {
    set->tensors = nnl_lua_new_userdata(L, (count_items(L, table) + 1) * sizeof *set->tensors, 0);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) set->tensors[set->count++] = check_named(L, bind);
    nnl_safetensors_sort(set);
}

void nnl_collect_tensors(lua_State *L, nnl_bind *bind, int table, int order, nnl_safetensors *set) {
    size_t count = (size_t)lua_rawlen(L, order);
    if (count != count_items(L, table))
        nnl_error(L, "save_tensors: the order has another number of names than there are tensors");
    set->tensors = nnl_lua_new_userdata(L, (count + 1) * sizeof *set->tensors, 0);
    for (; set->count < count; set->count++) {
        lua_rawgeti(L, order, (lua_Integer)set->count + 1);
        lua_pushvalue(L, -1);
        lua_rawget(L, table);
        set->tensors[set->count] = check_named(L, bind);
        lua_pop(L, 2);
    }
}

static int by_key(const void *a, const void *b) {
    return strcmp(((const nnl_metadata *)a)->key, ((const nnl_metadata *)b)->key);
}

static void collect_metadata(lua_State *L, int table, nnl_safetensors *set) {
    if (lua_isnoneornil(L, table)) return;
    luaL_checktype(L, table, LUA_TTABLE);
    set->metadata = nnl_lua_new_userdata(L, (count_items(L, table) + 1) * sizeof *set->metadata, 0);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        nnl_metadata *item = &set->metadata[set->metadata_count++];
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
            nnl_error(L, "save_tensors: metadata must be strings by name");
        item->key = lua_tolstring(L, -2, &item->key_length);
        item->value = lua_tolstring(L, -1, &item->value_length);
    }
    qsort(set->metadata, set->metadata_count, sizeof *set->metadata, by_key);
}

// core.save_tensors(path, tensors by name[, metadata][, list of names]): true. Sorted by name without a list.
static int save_tensors(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_safetensors set = {.count = 0};
    const char *path = nnl_check_path(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 4);
    collect_metadata(L, 3, &set);
    if (lua_isnil(L, 4)) {
        collect_by_name(L, bind, 2, &set);
    } else {
        luaL_checktype(L, 4, LUA_TTABLE);
        nnl_collect_tensors(L, bind, 2, 4, &set);
    }
    if (nnl_safetensors_save(bind->ctx, path, &set) != NNL_OK) return nnl_fail_io(L, bind);
    lua_pushboolean(L, true);
    return 1;
}

void nnl_open_files(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"load_tensors", load_tensors}, {"save_tensors", save_tensors}, {NULL, NULL}};
    lua_pushvalue(L, NNL_CORE_INDEX);
    nnl_set_functions(L, functions);
}
