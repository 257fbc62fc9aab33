// adapter.c: low-rank adapters of layers, from Lua: the methods that lua/nnlua/lora.lua builds on.
#include "bind/layer.h"
#include "tensor/apply.h"

#include <stdio.h>

static int slot_named(lua_State *L, const nnl_layer *layer, const char *name) {
    int slot = nnl_layer_slot(layer, name);
    if (slot < 0 || !layer->tensor[slot])
        nnl_error(L, "nn.%s: there is no parameter '%s'", layer->class->name, name);
    return slot;
}

// layer:_adaptable(name): nil where this tensor cannot have an adapter; otherwise "weight", "itself" or
// "input", as nnl_adapts has them
static int layer_adaptable(lua_State *L) {
    static const char *const words[] = {"weight", "itself", "input"};
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_layer *layer = nnl_check_layer(L, bind, 1);
    int slot = nnl_layer_slot(layer, luaL_checkstring(L, 2));
    bool fits = slot >= 0 && nnl_adapter_fits(layer, slot);
    if (fits) lua_pushstring(L, words[layer->class->adapts]);
    if (!fits) lua_pushnil(L);
    return 1;
}

static bool has_adapter(const nnl_layer *layer, int slot) {
    for (int i = 0; i < layer->n_adapters; i++) {
        if (layer->adapters[i].slot == slot) return true;
    }
    return false;
}

// layer:_adapt(name, rank, alpha, dropout, gaussian)
static int layer_adapt(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = nnl_check_layer(L, bind, 1);
    const char *name = luaL_checkstring(L, 2);
    int slot = slot_named(L, layer, name);
    int64_t rank = nnl_check_integer(L, bind, 3);
    double alpha = luaL_checknumber(L, 4), dropout = luaL_checknumber(L, 5);
    if (!nnl_adapter_fits(layer, slot))
        return nnl_error(L, "nn.%s: '%s' is no weight that can have an adapter", layer->class->name, name);
    if (has_adapter(layer, slot))
        return nnl_error(L, "nn.%s: '%s' has an adapter already", layer->class->name, name);
    nnl_status status = nnl_adapter_add(bind->ctx, layer, slot, rank, alpha, dropout, lua_toboolean(L, 6));
    return status == NNL_OK ? 0 : nnl_raise(L, bind);
}

// One adapter as a table, pushed.
static void push_adapter(lua_State *L, const nnl_layer *layer, const nnl_adapter *adapter) {
    char name[NNL_SLOT_NAME];
    lua_createtable(L, 0, 7);
    lua_pushstring(L, nnl_layer_slot_name(layer, adapter->slot, name));
    lua_setfield(L, -2, "weight");
    nnl_adapter_name(layer, adapter, 'A', name);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "a");
    nnl_adapter_name(layer, adapter, 'B', name);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "b");
    lua_pushinteger(L, (lua_Integer)adapter->rank);
    lua_setfield(L, -2, "rank");
    lua_pushnumber(L, adapter->alpha);
    lua_setfield(L, -2, "alpha");
    lua_pushnumber(L, adapter->dropout);
    lua_setfield(L, -2, "dropout");
    lua_pushboolean(L, adapter->base != NULL);
    lua_setfield(L, -2, "merged");
}

// layer:_adapters(): {{weight =, a =, b =, rank =, alpha =, dropout =, merged =}, ...}; a and b are names
static int layer_adapters(lua_State *L) {
    const nnl_layer *layer = nnl_check_layer(L, nnl_bind_of(L), 1);
    lua_createtable(L, layer->n_adapters, 0);
    for (int i = 0; i < layer->n_adapters; i++) {
        push_adapter(L, layer, &layer->adapters[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

// layer:_merge(flag)
static int layer_merge(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = nnl_check_layer(L, bind, 1);
    if (nnl_adapters_merge(bind->ctx, layer, lua_toboolean(L, 2)) != NNL_OK) return nnl_raise(L, bind);
    return 0;
}

// layer:_drop_adapters()
static int layer_drop_adapters(lua_State *L) {
    nnl_adapters_drop(nnl_check_layer(L, nnl_bind_of(L), 1));
    return 0;
}

static int add_matrix(lua_State *L, nnl_bind *bind, const char *name, nnl_tensor *matrix, int count) {
    lua_createtable(L, 3, 0);
    lua_pushstring(L, name);
    lua_rawseti(L, -2, 1);
    nnl_push_borrowed(L, bind, matrix);
    lua_rawseti(L, -2, 2);
    lua_pushboolean(L, false);
    lua_rawseti(L, -2, 3);
    lua_rawseti(L, -2, count + 1);
    return count + 1;
}

void nnl_add_adapter_tensors(lua_State *L, nnl_bind *bind, const nnl_layer *layer, int count) {
    char name[NNL_SLOT_NAME];
    for (int i = 0; i < layer->n_adapters; i++) {
        const nnl_adapter *adapter = &layer->adapters[i];
        if (adapter->base) continue;
        nnl_adapter_name(layer, adapter, 'A', name);
        count = add_matrix(L, bind, name, adapter->a, count);
        nnl_adapter_name(layer, adapter, 'B', name);
        count = add_matrix(L, bind, name, adapter->b, count);
    }
}

int nnl_load_adapter(lua_State *L, nnl_bind *bind, nnl_layer *layer, const char *name) {
    char expected[NNL_SHAPE_TEXT], got[NNL_SHAPE_TEXT];
    nnl_tensor *matrix = nnl_adapter_tensor(layer, name), *values = nnl_check_tensor(L, bind, 3);
    if (!nnl_shape_equal(&matrix->shape, &values->shape)) {
        return nnl_error(L, "nn.%s: '%s' has shape %s, cannot load %s", layer->class->name, name,
                         nnl_shape_text(&matrix->shape, expected), nnl_shape_text(&values->shape, got));
    }
    nnl_apply_copy(matrix, values);
    nnl_tensor_changed(matrix);
    return 0;
}

void nnl_add_adapters_text(luaL_Buffer *text, const nnl_layer *layer) {
    for (int i = 0; i < layer->n_adapters; i++) {
        const nnl_adapter *adapter = &layer->adapters[i];
        char slot[NNL_SLOT_NAME], line[NNL_SLOT_NAME + 96];
        snprintf(line, sizeof line, " + LoRA(%s, rank = %lld, alpha = %g%s)",
                 nnl_layer_slot_name(layer, adapter->slot, slot), (long long)adapter->rank, adapter->alpha,
                 adapter->base ? ", merged" : "");
        luaL_addstring(text, line);
    }
}

const luaL_Reg nnl_adapter_methods[] = {
    {"_adaptable", layer_adaptable},         {"_adapt", layer_adapt},
    {"_adapters", layer_adapters},           {"_merge", layer_merge},
    {"_drop_adapters", layer_drop_adapters}, {NULL, NULL},
};
