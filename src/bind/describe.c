// describe.c: core.describe(name): the declaration of a layer, loss, optimizer, initialiser or operation as
// plain tables, for help and summaries; and the text of the Lua modules.
#include "bind/modules.h"
#include "bind/options.h"
#include "nn/init.h"
#include "optim/optimizer.h"

#include <string.h>

static void push_head(lua_State *L, const char *kind, const char *name, const char *doc) {
    lua_newtable(L);
    lua_pushstring(L, kind);
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, doc);
    lua_setfield(L, -2, "doc");
}

static void push_slot(lua_State *L, const nnl_slot *slot) {
    lua_createtable(L, 0, 4);
    lua_pushstring(L, slot->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, slot->shape);
    lua_setfield(L, -2, "shape");
    lua_pushboolean(L, slot->buffer);
    lua_setfield(L, -2, "buffer");
    lua_pushstring(L, slot->when);
    lua_setfield(L, -2, "when");
}

// Tensors that only an option brings are among the options.
static bool describe_layer(lua_State *L, const char *name) {
    const nnl_layer_class *class = nnl_layer_class_named(name);
    int count = 0;
    if (!class) return false;
    push_head(L, class->is_loss ? "loss" : "layer", class->name, class->doc);
    nnl_push_declaration(L, class->options);
    lua_setfield(L, -2, "options");
    if (class->call) {
        nnl_push_declaration(L, class->call);
        lua_setfield(L, -2, "call");
    }
    lua_pushstring(L, class->takes);
    lua_setfield(L, -2, "takes");
    lua_pushstring(L, class->gives);
    lua_setfield(L, -2, "gives");
    lua_newtable(L);
    for (int k = 0; k < NNL_MAX_SLOTS && class->slots[k].name; k++) {
        if (!class->slots[k].shape) continue;
        push_slot(L, &class->slots[k]);
        lua_rawseti(L, -2, ++count);
    }
    lua_setfield(L, -2, "tensors");
    return true;
}

static bool describe_optimizer(lua_State *L, const char *name) {
    const nnl_optimizer_class *const *class = nnl_optimizer_classes;
    while (*class && strcmp((*class)->name, name) != 0) class ++;
    if (!*class) return false;
    push_head(L, "optimizer", (*class)->name, (*class)->doc);
    nnl_push_declaration(L, (*class)->options);
    lua_setfield(L, -2, "options");
    return true;
}

static bool describe_initializer(lua_State *L, const char *name) {
    size_t length = strlen(name);
    bool ends = length > 0 && name[length - 1] == '_';
    const nnl_initializer *initializer = ends ? nnl_initializer_named(name, length - 1) : NULL;
    if (!initializer) return false;
    push_head(L, "initializer", name, initializer->doc);
    nnl_push_declaration(L, initializer->options);
    lua_setfield(L, -2, "options");
    return true;
}

static const char *const kinds[] = {
    [NNL_ARG_END] = "",
    [NNL_ARG_TENSOR] = "tensor",
    [NNL_ARG_OPERAND] = "tensor or number",
    [NNL_ARG_VALUE] = "tensor, number or boolean",
    [NNL_ARG_NUMBER] = "number",
    [NNL_ARG_INT] = "integer",
    [NNL_ARG_INTS] = "integers",
    [NNL_ARG_BOOL] = "boolean",
    [NNL_ARG_DIM] = "dimension",
    [NNL_ARG_NEW_DIM] = "dimension",
    [NNL_ARG_DIMS] = "dimensions",
    [NNL_ARG_SHAPE] = "shape",
    [NNL_ARG_DTYPE] = "dtype",
    [NNL_ARG_CHOICE] = "choice",
    [NNL_ARG_TENSORS] = "tensors",
    [NNL_ARG_TEXT] = "string",
};

static void push_param(lua_State *L, const nnl_param *param) {
    lua_createtable(L, 0, 5);
    lua_pushstring(L, param->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, kinds[param->kind]);
    lua_setfield(L, -2, "type");
    lua_pushstring(L, param->choices);
    lua_setfield(L, -2, "choices");
    lua_pushboolean(L, !param->optional);
    lua_setfield(L, -2, "required");
    if (!param->optional || param->kind != NNL_ARG_NUMBER) return;
    lua_pushnumber(L, param->fallback);
    lua_setfield(L, -2, "default");
}

static bool describe_operation(lua_State *L, const char *name) {
    const nnl_op *op = nnl_op_named(name);
    if (!op) return false;
    push_head(L, "operation", op->name, op->doc);
    lua_newtable(L);
    for (int k = 0; k < NNL_MAX_ARGS && op->params[k].kind != NNL_ARG_END; k++) {
        push_param(L, &op->params[k]);
        lua_rawseti(L, -2, k + 1);
    }
    lua_setfield(L, -2, "options");
    return true;
}

// nil for a name that nothing has.
static int describe(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    bool found = describe_layer(L, name) || describe_optimizer(L, name) || describe_initializer(L, name) ||
                 describe_operation(L, name);
    if (!found) lua_pushnil(L);
    return 1;
}

// core.module_source(name): the text of a Lua module that is compiled in, whose comments are its
// documentation; nil where there is none of the name.
static int module_source(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    const nnl_lua_module *module = nnl_lua_modules;
    while (module->name && strcmp(module->name, name) != 0) module++;
    lua_pushlstring(L, module->name ? module->source : "", module->length);
    if (!module->name) lua_pushnil(L);
    return 1;
}

void nnl_open_describe(lua_State *L) {
    nnl_push_function(L, describe, 0);
    lua_setfield(L, NNL_CORE_INDEX, "describe");
    nnl_push_function(L, module_source, 0);
    lua_setfield(L, NNL_CORE_INDEX, "module_source");
}
