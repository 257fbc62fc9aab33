// layer.c: layers and losses as userdata: one constructor for all classes, calls, fields, and the methods
// that the Lua side builds the common methods of modules from.
#include "bind/layer.h"

#include <stdio.h>
#include <string.h>

static const char *layer_name(const nnl_layer *layer, char who[NNL_WHO_ROOM]) {
    snprintf(who, NNL_WHO_ROOM, "nn.%s", layer->class->name);
    return who;
}

nnl_layer *nnl_check_layer(lua_State *L, const nnl_bind *bind, int arg) {
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

// One argument or result of a call, as `takes` and `gives` declare them: a tensor, or a table of several.
typedef struct part {
    const char *names; // "h c"
    size_t length;     // of the names
    int tensors;
    bool table;
} part;

// The part that begins at *at, behind which *at then stands.
static part next_part(const char **at) {
    part p = {.names = *at, .tensors = 1, .table = **at == '{'};
    if (p.table) p.names++;
    p.length = strcspn(p.names, p.table ? "}" : " ");
    for (size_t k = 0; k < p.length; k++) p.tensors += p.names[k] == ' ';
    *at = p.names + p.length + p.table;
    if (**at == ' ') ++*at;
    return p;
}

// A call on its way to the engine.
typedef struct call {
    lua_State *L;
    nnl_bind *bind;
    const nnl_layer *layer;
    int last; // the last argument that is no table of options
    int n;    // tensors so far, with those left out between them
    nnl_tensor *inputs[NNL_LAYER_INPUTS];
    nnl_option_value options[NNL_CALL_OPTIONS];
} call;

static void add_input(call *c, int index, int argument) {
    char who[NNL_WHO_ROOM];
    nnl_tensor *t = nnl_to_tensor(c->L, c->bind, index);
    if (!t && (!lua_isnil(c->L, index) || c->n < c->layer->class->inputs)) {
        nnl_error(c->L, "%s: expected a tensor as input %d, got %s", layer_name(c->layer, who), argument,
                  nnl_type_name(c->L, c->bind, index));
    }
    c->inputs[c->n++] = t;
}

// Says of a table of tensors what is wrong with it.
static void wrong_table(const call *c, int index, int argument, const part *p) {
    lua_State *L = c->L;
    char who[NNL_WHO_ROOM];
    lua_pushlstring(L, p->names, p->length);
    const char *names = luaL_gsub(L, lua_tostring(L, -1), " ", ", "), *got = nnl_type_name(L, c->bind, index);
    if (lua_istable(L, index)) got = lua_pushfstring(L, "a table of %d values", (int)lua_rawlen(L, index));
    nnl_error(L, "%s: expected a table of the tensors {%s} as input %d, got %s", layer_name(c->layer, who),
              names, argument, got);
}

// The table of tensors at `index`, such as a state {h, c}.
static void add_table(call *c, int index, int argument, const part *p) {
    lua_State *L = c->L;
    bool none = lua_isnil(L, index);
    if (!none && (!lua_istable(L, index) || (int)lua_rawlen(L, index) != p->tensors)) {
        wrong_table(c, index, argument, p);
    }
    for (int k = 0; k < p->tensors; k++) {
        if (!none) lua_rawgeti(L, index, k + 1);
        nnl_tensor *t = none ? NULL : nnl_to_tensor(L, c->bind, -1);
        if (!none && !t) wrong_table(c, lua_gettop(L), argument, p);
        if (!none) lua_pop(L, 1);
        c->inputs[c->n++] = t;
    }
}

static void too_many_inputs(const call *c, int most) {
    char who[NNL_WHO_ROOM];
    nnl_error(c->L, "%s: expected %s%d %s, got %d", layer_name(c->layer, who),
              most > c->layer->class->inputs ? "at most " : "", most, most == 1 ? "input" : "inputs",
              c->last - 1);
}

// The arguments after the layer itself; nil where an optional one is left out.
static void read_inputs(call *c) {
    const nnl_layer_class *class = c->layer->class;
    int argument = 1;
    if (!class->takes) {
        if (c->last - 1 > class->inputs) too_many_inputs(c, class->inputs);
        for (; argument < c->last; argument++) add_input(c, argument + 1, argument);
        return;
    }
    const char *at = class->takes;
    for (; argument < c->last && *at; argument++) {
        part p = next_part(&at);
        if (p.table) add_table(c, argument + 1, argument, &p);
        if (!p.table) add_input(c, argument + 1, argument);
    }
    if (argument < c->last) too_many_inputs(c, argument - 1);
}

// The table of options at the end of the arguments; false where there is none.
static bool read_call_options(call *c) {
    static const nnl_option none[] = {{.name = NULL}};
    lua_State *L = c->L;
    char who[NNL_WHO_ROOM];
    const nnl_option *declared = c->layer->class->call ? c->layer->class->call : none;
    nnl_layer_call_defaults(c->layer, c->options);
    if (c->last < 2 || !(nnl_is_options(L, c->last) || nnl_is_empty_table(L, c->last))) return false;
    nnl_reading reading = {L, c->bind, layer_name(c->layer, who), declared, c->options, NULL};
    nnl_read_options(&reading, c->last, NULL);
    return true;
}

// Tensors of one result onto the stack: themselves, or in a table; nil where there is none.
static void push_part(lua_State *L, const part *p, int first, nnl_tensor *const *out) {
    if (!p->table) {
        if (*out) lua_pushvalue(L, first);
        if (!*out) lua_pushnil(L);
        return;
    }
    lua_createtable(L, p->tensors, 0);
    for (int k = 0; k < p->tensors; k++) {
        lua_pushvalue(L, first + k);
        lua_rawseti(L, -2, k + 1);
    }
}

static int count_tensors(const char *declared) {
    int count = 0;
    for (const char *at = declared; *at;) count += next_part(&at).tensors;
    return count;
}

// Slots come before the call, so that nothing is lost where Lua has no memory for them.
static int run_forward(call *c, nnl_layer *layer) {
    nnl_tensor *out[NNL_LAYER_RESULTS], **slot = nnl_push_slot(c->L, c->bind);
    if (nnl_layer_forward(c->bind->ctx, layer, c->n, c->inputs, c->options, out) != NNL_OK)
        return nnl_raise(c->L, c->bind);
    *slot = out[0];
    return 1;
}

// The same for a class that declares what it gives.
static int run_forward_of_parts(call *c, nnl_layer *layer) {
    lua_State *L = c->L;
    const char *gives = layer->class->gives;
    int first = lua_gettop(L) + 1, count = count_tensors(gives), results = 0;
    nnl_tensor **slot[NNL_LAYER_RESULTS], *out[NNL_LAYER_RESULTS];
    for (int k = 0; k < count; k++) slot[k] = nnl_push_slot(L, c->bind);
    if (nnl_layer_forward(c->bind->ctx, layer, c->n, c->inputs, c->options, out) != NNL_OK) {
        return nnl_raise(L, c->bind);
    }
    for (int k = 0; k < count; k++) *slot[k] = out[k];
    for (int done = 0; *gives; results++) {
        part p = next_part(&gives);
        push_part(L, &p, first + done, out + done);
        done += p.tensors;
    }
    return results;
}

static int layer_forward(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = nnl_check_layer(L, bind, 1);
    call c; // its arrays are as long as needed in their beginning
    c.L = L;
    c.bind = bind;
    c.layer = layer;
    c.last = nnl_last_argument(L);
    c.n = 0;
    luaL_checkstack(L, 3 * NNL_LAYER_RESULTS + 4, "too many arguments");
    if (read_call_options(&c)) c.last--;
    read_inputs(&c);
    return layer->class->gives ? run_forward_of_parts(&c, layer) : run_forward(&c, layer);
}

// layer(...): by way of its hooks where it has some (lua/nnlua/hooks.lua).
static int layer_call(lua_State *L) {
    if (!nnl_check_layer(L, nnl_bind_of(L), 1)->watched) return layer_forward(L);
    nnl_lua_get_value(L, lua_upvalueindex(1), NNL_KEPT_WATCHER);
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

// layer:_watch(function that calls watched layers)
static int layer_watch(lua_State *L) {
    nnl_layer *layer = nnl_check_layer(L, nnl_bind_of(L), 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    nnl_lua_set_value(L, lua_upvalueindex(1), NNL_KEPT_WATCHER);
    layer->watched = true;
    return 0;
}

// ---- fields

static bool push_tensor_field(lua_State *L, nnl_bind *bind, const nnl_layer *layer, const char *name) {
    char room[NNL_SLOT_NAME];
    for (int k = 0; k < layer->slots; k++) {
        if (strcmp(nnl_layer_slot_name(layer, k, room), name) != 0) continue;
        if (layer->tensor[k]) nnl_push_borrowed(L, bind, layer->tensor[k]);
        if (!layer->tensor[k]) lua_pushnil(L);
        return true;
    }
    nnl_tensor *matrix = nnl_adapter_tensor(layer, name);
    if (matrix) nnl_push_borrowed(L, bind, matrix);
    return matrix != NULL;
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
    nnl_layer *layer = nnl_check_layer(L, bind, 1);
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
    nnl_layer *layer = nnl_check_layer(L, bind, 1);
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
    nnl_layer *layer = nnl_check_layer(L, nnl_bind_of(L), 1);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luaL_addstring(&text, layer->class->name);
    luaL_addchar(&text, '(');
    nnl_add_options_text(&text, layer->class->options, layer->option);
    luaL_addchar(&text, ')');
    nnl_add_adapters_text(&text, layer);
    luaL_pushresult(&text);
    return 1;
}

// ---- methods for the Lua side

// {{name, tensor, is_buffer}, ...}, those that exist now, in the order of the declaration
static int layer_tensors(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = nnl_check_layer(L, bind, 1);
    char name[NNL_SLOT_NAME];
    int count = 0;
    lua_newtable(L);
    for (int k = 0; k < layer->slots; k++) {
        if (!layer->tensor[k]) continue;
        lua_createtable(L, 3, 0);
        lua_pushstring(L, nnl_layer_slot_name(layer, k, name));
        lua_rawseti(L, -2, 1);
        nnl_push_borrowed(L, bind, layer->tensor[k]);
        lua_rawseti(L, -2, 2);
        lua_pushboolean(L, nnl_layer_slot_at(layer, k)->buffer);
        lua_rawseti(L, -2, 3);
        lua_rawseti(L, -2, ++count);
    }
    nnl_add_adapter_tensors(L, bind, layer, count);
    return 1;
}

// The names of the tensors that a layer with open sizes will have; nil for one that is complete, or has none.
static int layer_open_slots(lua_State *L) {
    nnl_layer *layer = nnl_check_layer(L, nnl_bind_of(L), 1);
    char name[NNL_SLOT_NAME];
    int count = 0;
    lua_newtable(L);
    for (int k = 0; k < layer->slots && !layer->built; k++) {
        if (!nnl_layer_slot_at(layer, k)->shape || !nnl_layer_has_slot(layer, k)) continue;
        lua_pushstring(L, nnl_layer_slot_name(layer, k, name));
        lua_rawseti(L, -2, ++count);
    }
    if (count == 0) lua_pushnil(L);
    return 1;
}

static int layer_set_training(lua_State *L) {
    nnl_check_layer(L, nnl_bind_of(L), 1)->training = lua_toboolean(L, 2);
    return 0;
}

// layer:_load(name, values[, adopt]): copies, or takes over the memory of values that are nobody else's.
static int layer_load(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = nnl_check_layer(L, bind, 1);
    char who[NNL_WHO_ROOM];
    const char *name = luaL_checkstring(L, 2);
    int slot = nnl_layer_slot(layer, name);
    if (slot < 0 && nnl_adapter_tensor(layer, name)) return nnl_load_adapter(L, bind, layer, name);
    if (slot < 0)
        return nnl_error(L, "%s: there is no parameter or buffer '%s'", layer_name(layer, who), name);
    nnl_tensor *values = nnl_check_tensor(L, bind, 3);
    nnl_status status = lua_toboolean(L, 4) ? nnl_layer_adopt(bind->ctx, layer, slot, values)
                                            : nnl_layer_load(bind->ctx, layer, slot, values);
    return status == NNL_OK ? 0 : nnl_raise(L, bind);
}

// bare_layers([flag]): whether layers are made without first values from here on, for models that load all of
// theirs; returns what held before.
static int bare_layers(lua_State *L) {
    nnl_context *ctx = nnl_bind_of(L)->ctx;
    bool before = ctx->bare_layers;
    if (!lua_isnoneornil(L, 1)) ctx->bare_layers = lua_toboolean(L, 1);
    lua_pushboolean(L, before);
    return 1;
}

static int layer_to(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_layer *layer = nnl_check_layer(L, bind, 1);
    if (nnl_layer_to(bind->ctx, layer, nnl_check_dtype(L, bind, 2)) != NNL_OK) return nnl_raise(L, bind);
    return 0;
}

// {class = "Dense", options = {...}}: the constructor given these options makes the layer again.
static int layer_config(lua_State *L) {
    nnl_layer *layer = nnl_check_layer(L, nnl_bind_of(L), 1);
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
    nnl_layer *layer = nnl_check_layer(L, bind, 1);
    nnl_tensor **out = nnl_push_slot(L, bind);
    if (nnl_layer_penalty(bind->ctx, layer, out) != NNL_OK) return nnl_raise(L, bind);
    if (!*out) lua_pushnil(L);
    return 1;
}

static int layer_class(lua_State *L) {
    lua_pushstring(L, nnl_check_layer(L, nnl_bind_of(L), 1)->class->name);
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
    {"forward", layer_forward},
    {"_watch", layer_watch},
    {"_tensors", layer_tensors},
    {"_open_slots", layer_open_slots},
    {"_set_training", layer_set_training},
    {"_load", layer_load},
    {"_to", layer_to},
    {"_config", layer_config},
    {"_class", layer_class},
    {"_penalty", layer_penalty},
    {NULL, NULL},
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
    nnl_set_functions(L, nnl_adapter_methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, NNL_CORE_INDEX, "layer_methods");
    nnl_new_metatable(L, NNL_KEPT_LAYER, "layer", metamethods);
    lua_insert(L, -2);
    nnl_push_function(L, layer_index, 1);
    lua_setfield(L, -2, "__index");
    open_classes(L);
    nnl_push_function(L, is_layer, 0);
    lua_setfield(L, NNL_CORE_INDEX, "is_layer");
    nnl_push_function(L, bare_layers, 0);
    lua_setfield(L, NNL_CORE_INDEX, "bare_layers");
}
