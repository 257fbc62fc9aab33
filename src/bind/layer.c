// layer.c: layers and losses as userdata: one constructor for all classes, calls, fields, and the methods
// that the Lua side builds the common methods of modules from.
#include "bind/options.h"

#include <stdio.h>
#include <string.h>

static const char *layer_name(const nnl_layer *layer, char who[NNL_WHO_ROOM]) {
    snprintf(who, NNL_WHO_ROOM, "nn.%s", layer->class->name);
    return who;
}

static nnl_layer *check_layer(lua_State *L, const nnl_bind *bind, int arg) {
    nnl_layer *layer = nnl_to_object(L, bind, arg, NNL_KEPT_LAYER);
    if (!layer) nnl_type_error(L, bind, arg, "layer");
    return layer;
}

// ---- making one

// Upvalue 2: the class.
static int construct(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_layer_class *class = lua_touserdata(L, lua_upvalueindex(2));
    char who[NNL_WHO_ROOM];
    void **object = nnl_push_object(L, bind, NNL_KEPT_LAYER);
    nnl_layer *layer = *object = nnl_layer_new(bind->ctx, class);
    if (!layer) return nnl_raise(L, bind);
    lua_insert(L, 1);
    nnl_reading reading = {L, bind, layer_name(layer, who), class->options, layer->option, layer};
    nnl_read_arguments(&reading, 2);
    if (nnl_layer_setup(bind->ctx, layer) != NNL_OK) return nnl_raise(L, bind);
    lua_settop(L, 1);
    return 1;
}

static int layer_gc(lua_State *L) {
    nnl_layer **object = lua_touserdata(L, 1);
    nnl_layer *layer = *object;
    *object = NULL;
    nnl_bind_finalizing(L);
    nnl_layer_release(layer);
    return 0;
}

// ---- calling

// The tensors after the layer itself; nil where one is left out. Returns how many.
static int read_inputs(lua_State *L, const nnl_bind *bind, const nnl_layer *layer, nnl_tensor **inputs) {
    char who[NNL_WHO_ROOM];
    int n = lua_gettop(L) - 1;
    while (n > 0 && lua_isnil(L, n + 1)) n--;
    if (n > NNL_LAYER_INPUTS) nnl_error(L, "%s: too many inputs: %d", layer_name(layer, who), n);
    for (int k = 0; k < n; k++) {
        inputs[k] = nnl_to_tensor(L, bind, k + 2);
        if (inputs[k] || (lua_isnil(L, k + 2) && k >= layer->class->inputs)) continue;
        nnl_error(L, "%s: expected a tensor as input %d, got %s", layer_name(layer, who), k + 1,
                  nnl_type_name(L, bind, k + 2));
    }
    return n;
}

static int layer_call(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = check_layer(L, bind, 1);
    nnl_tensor *inputs[NNL_LAYER_INPUTS] = {NULL};
    int n = read_inputs(L, bind, layer, inputs);
    nnl_tensor **out = nnl_push_slot(L, bind);
    if (nnl_layer_forward(bind->ctx, layer, n, inputs, out) != NNL_OK) return nnl_raise(L, bind);
    return 1;
}

// ---- fields

static bool push_tensor_field(lua_State *L, nnl_bind *bind, const nnl_layer *layer, const char *name) {
    const nnl_slot *slot = layer->class->slots;
    for (int k = 0; k < NNL_MAX_SLOTS && slot[k].name; k++) {
        if (strcmp(slot[k].name, name) != 0) continue;
        if (layer->tensor[k]) nnl_push_borrowed(L, bind, layer->tensor[k]);
        if (!layer->tensor[k]) lua_pushnil(L);
        return true;
    }
    return false;
}

// A size that is still open is nil.
static void push_option_field(lua_State *L, const nnl_layer *layer, int position) {
    const nnl_option *option = &layer->class->options[position];
    const nnl_option_value *value = &layer->option[position];
    bool open = nnl_option_is_open(option, value);
    if (open) lua_pushnil(L);
    if (!open) nnl_push_option_value(L, option, value);
}

// nil, as everywhere in Lua, but a slip away from a name that there is: a mistake.
static int push_unknown(lua_State *L, const nnl_layer *layer, const char *name) {
    char who[NNL_WHO_ROOM];
    nnl_hint hint = nnl_hint_for(name);
    nnl_hint_keys(&hint, L, lua_upvalueindex(2));
    if (hint.name[0])
        return nnl_error(L, "%s has no '%s'%s", layer_name(layer, who), name, nnl_hint_push(L, &hint));
    lua_pushnil(L);
    return 1;
}

// Upvalue 2: the methods.
static int layer_index(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = check_layer(L, bind, 1);
    int position;
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL || lua_type(L, 2) != LUA_TSTRING) return 1;
    const char *name = lua_tostring(L, 2);
    if (push_tensor_field(L, bind, layer, name)) return 1;
    if (strcmp(name, "training") == 0) {
        lua_pushboolean(L, layer->training);
    } else if (nnl_option_named(layer->class->options, name, &position)) {
        push_option_field(L, layer, position);
    } else {
        return push_unknown(L, layer, name);
    }
    return 1;
}

// layer.weight = tensor: two layers may share one, such as an embedding and the layer that reverses it.
static int layer_newindex(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = check_layer(L, bind, 1);
    char who[NNL_WHO_ROOM], a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    const char *name = luaL_tolstring(L, 2, NULL);
    int slot = nnl_layer_slot(layer, name);
    nnl_tensor *given = nnl_to_tensor(L, bind, 3);
    if (slot < 0 || !given || !layer->tensor[slot]) {
        return nnl_error(L, "%s: '%s' cannot be set; its parameters can, to tensors", layer_name(layer, who),
                         name);
    }
    nnl_tensor *held = layer->tensor[slot];
    if (!nnl_shape_equal(&held->shape, &given->shape)) {
        return nnl_error(L, "%s: '%s' has shape %s, got a tensor of shape %s", layer_name(layer, who), name,
                         nnl_shape_text(&held->shape, a), nnl_shape_text(&given->shape, b));
    }
    layer->tensor[slot] = nnl_tensor_retain(given);
    nnl_tensor_release(held);
    return 0;
}

static int layer_tostring(lua_State *L) {
    nnl_layer *layer = check_layer(L, nnl_bind_of(L), 1);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luaL_addstring(&text, layer->class->name);
    luaL_addchar(&text, '(');
    nnl_add_options_text(&text, layer->class->options, layer->option);
    luaL_addchar(&text, ')');
    luaL_pushresult(&text);
    return 1;
}

// ---- methods for the Lua side

// {{name, tensor, is_buffer}, ...}, those that exist now, in the order of the declaration
static int layer_tensors(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = check_layer(L, bind, 1);
    int count = 0;
    lua_newtable(L);
    for (int k = 0; k < NNL_MAX_SLOTS; k++) {
        if (!layer->tensor[k]) continue;
        lua_createtable(L, 3, 0);
        lua_pushstring(L, layer->class->slots[k].name);
        lua_rawseti(L, -2, 1);
        nnl_push_borrowed(L, bind, layer->tensor[k]);
        lua_rawseti(L, -2, 2);
        lua_pushboolean(L, layer->class->slots[k].buffer);
        lua_rawseti(L, -2, 3);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

static int layer_set_training(lua_State *L) {
    check_layer(L, nnl_bind_of(L), 1)->training = lua_toboolean(L, 2);
    return 0;
}

static int layer_load(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = check_layer(L, bind, 1);
    char who[NNL_WHO_ROOM];
    const char *name = luaL_checkstring(L, 2);
    int slot = nnl_layer_slot(layer, name);
    if (slot < 0)
        return nnl_error(L, "%s: there is no parameter or buffer '%s'", layer_name(layer, who), name);
    if (nnl_layer_load(bind->ctx, layer, slot, nnl_check_tensor(L, bind, 3)) != NNL_OK)
        return nnl_raise(L, bind);
    return 0;
}

static int layer_to(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = check_layer(L, bind, 1);
    if (nnl_layer_to(bind->ctx, layer, nnl_check_dtype(L, bind, 2)) != NNL_OK) return nnl_raise(L, bind);
    return 0;
}

// {class = "Dense", options = {...}}: the constructor given these options makes the layer again.
static int layer_config(lua_State *L) {
    nnl_layer *layer = check_layer(L, nnl_bind_of(L), 1);
    const nnl_option *option = layer->class->options;
    lua_createtable(L, 0, 2);
    lua_pushstring(L, layer->class->name);
    lua_setfield(L, -2, "class");
    lua_newtable(L);
    for (int k = 0; k < NNL_MAX_OPTIONS && option[k].type != NNL_OPTION_END; k++) {
        push_option_field(L, layer, k);
        lua_setfield(L, -2, option[k].name);
    }
    lua_setfield(L, -2, "options");
    return 1;
}

static int layer_penalty(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = check_layer(L, bind, 1);
    nnl_tensor **out = nnl_push_slot(L, bind);
    if (nnl_layer_penalty(bind->ctx, layer, out) != NNL_OK) return nnl_raise(L, bind);
    if (!*out) lua_pushnil(L);
    return 1;
}

static int layer_class(lua_State *L) {
    lua_pushstring(L, check_layer(L, nnl_bind_of(L), 1)->class->name);
    return 1;
}

static int is_layer(lua_State *L) {
    lua_pushboolean(L, nnl_to_object(L, nnl_bind_of(L), 1, NNL_KEPT_LAYER) != NULL);
    return 1;
}

// ---- opening

static const luaL_Reg metamethods[] = {
    {"__gc", layer_gc},    {"__call", layer_call},         {"__newindex", layer_newindex},
    {"__close", layer_gc}, {"__tostring", layer_tostring}, {NULL, NULL},
};

static const luaL_Reg methods[] = {
    {"forward", layer_call}, {"_tensors", layer_tensors}, {"_set_training", layer_set_training},
    {"_load", layer_load},   {"_to", layer_to},           {"_config", layer_config},
    {"_class", layer_class}, {"_penalty", layer_penalty}, {NULL, NULL},
};

static void set_constructor(lua_State *L, int table, const char *name, const nnl_layer_class *class) {
    lua_pushlightuserdata(L, (void *)class);
    nnl_push_function(L, construct, 1);
    lua_setfield(L, table, name);
}

static void open_classes(lua_State *L) {
    const nnl_layer_class *class;
    lua_newtable(L);
    lua_newtable(L);
    int losses = lua_gettop(L), layers = losses - 1;
    for (size_t k = 0; (class = nnl_layer_class_at(k)) != NULL; k++) {
        int table = class->is_loss ? losses : layers;
        set_constructor(L, table, class->name, class);
        if (class->alias) set_constructor(L, table, class->alias, class);
    }
    lua_setfield(L, NNL_CORE_INDEX, "losses");
    lua_setfield(L, NNL_CORE_INDEX, "layers");
}

void nnl_open_layers(lua_State *L) {
    lua_newtable(L);
    nnl_set_functions(L, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, NNL_CORE_INDEX, "layer_methods");
    nnl_new_metatable(L, NNL_KEPT_LAYER, "layer", metamethods);
    lua_insert(L, -2);
    nnl_push_function(L, layer_index, 1);
    lua_setfield(L, -2, "__index");
    open_classes(L);
    nnl_push_function(L, is_layer, 0);
    lua_setfield(L, NNL_CORE_INDEX, "is_layer");
}
