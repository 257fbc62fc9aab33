// decoder.c: core.decoder and core.sampler: generation by a language model, for
// lua/nnlua/models/generate.lua, which checks the arguments.
#include "nn/decoder.h"
#include "bind/bind.h"
#include "nn/sampling.h"

#include <string.h>

// ---- fields of a table

static int64_t integer_field(lua_State *L, int table, const char *name) {
    int64_t value = 0;
    lua_getfield(L, table, name);
    if (!lua_isnil(L, -1) && !nnl_lua_to_integer(L, -1, &value))
        nnl_error(L, "%s must be a whole number", name);
    lua_pop(L, 1);
    return value;
}

static double number_field(lua_State *L, int table, const char *name, double fallback) {
    lua_getfield(L, table, name);
    double value = lua_isnil(L, -1) ? fallback : lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

static bool bool_field(lua_State *L, int table, const char *name) {
    lua_getfield(L, table, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

// The tensor stays alive by the table.
static nnl_tensor *tensor_field(lua_State *L, const nnl_bind *bind, int table, const char *name) {
    lua_getfield(L, table, name);
    nnl_tensor *t = nnl_to_tensor(L, bind, -1);
    lua_pop(L, 1);
    return t;
}

// ---- decoders

static nnl_decoder *check_decoder(lua_State *L, const nnl_bind *bind) {
    nnl_decoder *d = nnl_to_object(L, bind, 1, NNL_KEPT_DECODER);
    if (!d) nnl_type_error(L, bind, 1, "decoder");
    return d;
}

// A block's {norm1 = {weight, bias}, qkv = ...}, on top.
static void read_layer(lua_State *L, const nnl_bind *bind, nnl_decoder_layer *layer) {
    luaL_checktype(L, -1, LUA_TTABLE);
    for (int part = 0; part < NNL_DECODER_PARTS; part++) {
        lua_getfield(L, -1, nnl_decoder_part_names[part]);
        if (lua_istable(L, -1)) {
            lua_rawgeti(L, -1, 1);
            lua_rawgeti(L, -2, 2);
            layer->weight[part] = nnl_to_tensor(L, bind, -2);
            layer->bias[part] = nnl_to_tensor(L, bind, -1);
            lua_pop(L, 2);
        }
        lua_pop(L, 1);
    }
}

// In a userdata that stays on the stack.
static const nnl_decoder_layer *read_layers(lua_State *L, const nnl_bind *bind, int64_t *count) {
    lua_getfield(L, 1, "blocks");
    luaL_checktype(L, -1, LUA_TTABLE);
    int list = lua_gettop(L);
    size_t n = (size_t)lua_rawlen(L, list);
    nnl_decoder_layer *layers = nnl_lua_new_userdata(L, (n + 1) * sizeof *layers, 0);
    memset(layers, 0, (n + 1) * sizeof *layers);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        read_layer(L, bind, &layers[i]);
        lua_pop(L, 1);
    }
    *count = (int64_t)n;
    return layers;
}

static const nnl_activation *read_activation(lua_State *L) {
    lua_getfield(L, 1, "activation");
    const char *name = luaL_checkstring(L, -1);
    const nnl_activation *found = NULL;
    for (const nnl_activation *a = nnl_activations; a->name; a++) {
        if (strcmp(a->name, name) == 0) found = a;
    }
    if (!found) nnl_error(L, "there is no activation '%s'", name);
    lua_pop(L, 1);
    return found;
}

static nnl_rotary read_rotary(lua_State *L, int64_t size) {
    return (nnl_rotary){.dim = size,
                        .base = number_field(L, 1, "rotary_base", 10000),
                        .factor = number_field(L, 1, "rotary_factor", 1),
                        .low = number_field(L, 1, "rotary_low", 1),
                        .high = number_field(L, 1, "rotary_high", 4),
                        .original = number_field(L, 1, "rotary_original", 0)};
}

// decoder{width, heads, kv_heads, size, length, eps, centred, activation, rotary ..., tokens, positions,
// norm, norm_bias, head, head_bias, blocks}
static int new_decoder(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    nnl_decoder_spec spec = {.width = integer_field(L, 1, "width"),
                             .heads = integer_field(L, 1, "heads"),
                             .kv_heads = integer_field(L, 1, "kv_heads"),
                             .size = integer_field(L, 1, "size"),
                             .length = integer_field(L, 1, "length"),
                             .eps = number_field(L, 1, "eps", 1e-5),
                             .centred = bool_field(L, 1, "centred"),
                             .interleaved = bool_field(L, 1, "interleaved"),
                             .activation = read_activation(L),
                             .tokens = tensor_field(L, bind, 1, "tokens"),
                             .places = tensor_field(L, bind, 1, "positions"),
                             .norm = tensor_field(L, bind, 1, "norm"),
                             .norm_bias = tensor_field(L, bind, 1, "norm_bias"),
                             .head = tensor_field(L, bind, 1, "head"),
                             .head_bias = tensor_field(L, bind, 1, "head_bias")};
    nnl_rotary rotary = read_rotary(L, spec.size);
    if (bool_field(L, 1, "rotary")) spec.rotary = &rotary;
    spec.layer = read_layers(L, bind, &spec.layers);
    void **object = nnl_push_object(L, bind, NNL_KEPT_DECODER);
    *object = nnl_decoder_new(bind->ctx, &spec);
    return *object ? 1 : nnl_raise(L, bind);
}

static int64_t check_id(lua_State *L, const nnl_bind *bind, int index) {
    int64_t id = 0;
    if (!nnl_lua_to_integer(L, index, &id))
        nnl_error(L, "expected token ids, got %s", nnl_type_name(L, bind, index));
    return id - 1;
}

// decoder:feed(id or list of ids[, from]): the logits of what follows
static int feed(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_decoder *d = check_decoder(L, bind);
    int64_t one, *ids = &one;
    size_t count = 1;
    if (lua_istable(L, 2)) {
        size_t from = (size_t)luaL_optinteger(L, 3, 1);
        count = (size_t)lua_rawlen(L, 2) + 1 - from;
        ids = nnl_lua_new_userdata(L, (count + 1) * sizeof *ids, 0);
        for (size_t i = 0; i < count; i++) {
            lua_rawgeti(L, 2, (lua_Integer)(from + i));
            ids[i] = check_id(L, bind, -1);
            lua_pop(L, 1);
        }
    } else {
        one = check_id(L, bind, 2);
    }
    return nnl_decoder_feed(d, count, ids) == NNL_OK ? 0 : nnl_raise(L, bind);
}

static int logits(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    return nnl_push_borrowed(L, bind, nnl_decoder_logits(check_decoder(L, bind)));
}

// decoder:position(): tokens read, and room for more
static int position(lua_State *L) {
    const nnl_decoder *d = check_decoder(L, nnl_bind_of(L));
    lua_pushinteger(L, (lua_Integer)nnl_decoder_position(d));
    lua_pushinteger(L, (lua_Integer)nnl_decoder_room(d));
    return 2;
}

// decoder:rewind(position): the tokens behind it are forgotten
static int rewind_to(lua_State *L) {
    nnl_decoder_rewind(check_decoder(L, nnl_bind_of(L)), (int64_t)luaL_checkinteger(L, 2));
    return 0;
}

static int decoder_gc(lua_State *L) {
    void **object = lua_touserdata(L, 1);
    nnl_bind_finalizing(L);
    nnl_decoder_free(*object);
    *object = NULL;
    return 0;
}

// ---- samplers

static nnl_sampler *check_sampler(lua_State *L, const nnl_bind *bind) {
    nnl_sampler *s = nnl_to_object(L, bind, 1, NNL_KEPT_SAMPLER);
    if (!s) nnl_type_error(L, bind, 1, "sampler");
    return s;
}

// sampler(size, {temperature, top_k, top_p, min_p, repetition, seed})
static int new_sampler(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    int64_t size = (int64_t)luaL_checkinteger(L, 1);
    nnl_sampling how = {.temperature = number_field(L, 2, "temperature", 1),
                        .top_k = integer_field(L, 2, "top_k"),
                        .top_p = number_field(L, 2, "top_p", 1),
                        .min_p = number_field(L, 2, "min_p", 0),
                        .repetition = number_field(L, 2, "repetition", 1),
                        .seed = (uint64_t)integer_field(L, 2, "seed")};
    lua_getfield(L, 2, "seed");
    how.seeded = !lua_isnil(L, -1);
    lua_pop(L, 1);
    void **object = nnl_push_object(L, bind, NNL_KEPT_SAMPLER);
    *object = nnl_sampler_new(bind->ctx, size, &how);
    return *object ? 1 : nnl_raise(L, bind);
}

// sampler:pick(logits or decoder): an id
static int pick(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_sampler *s = check_sampler(L, bind);
    const nnl_decoder *d = nnl_to_object(L, bind, 2, NNL_KEPT_DECODER);
    const nnl_tensor *from = d ? nnl_decoder_logits(d) : nnl_check_tensor(L, bind, 2);
    int64_t id;
    if (nnl_sampler_pick(s, from, &id) != NNL_OK) return nnl_raise(L, bind);
    lua_pushinteger(L, (lua_Integer)id + 1);
    return 1;
}

// sampler:note(id): it was there
static int note(lua_State *L) {
    nnl_sampler_note(check_sampler(L, nnl_bind_of(L)), (int64_t)luaL_checkinteger(L, 2) - 1);
    return 0;
}

static int sampler_gc(lua_State *L) {
    void **object = lua_touserdata(L, 1);
    nnl_bind_finalizing(L);
    nnl_sampler_free(*object);
    *object = NULL;
    return 0;
}

// ----

static void set_methods(lua_State *L, const luaL_Reg *methods) {
    lua_newtable(L);
    nnl_set_functions(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void nnl_open_decoder(lua_State *L) {
    static const luaL_Reg of_decoder[] = {{"__gc", decoder_gc}, {NULL, NULL}};
    static const luaL_Reg of_sampler[] = {{"__gc", sampler_gc}, {NULL, NULL}};
    static const luaL_Reg decoder_methods[] = {
        {"feed", feed}, {"logits", logits}, {"position", position}, {"rewind", rewind_to}, {NULL, NULL}};
    static const luaL_Reg sampler_methods[] = {{"pick", pick}, {"note", note}, {NULL, NULL}};
    nnl_new_metatable(L, NNL_KEPT_DECODER, "decoder", of_decoder);
    set_methods(L, decoder_methods);
    nnl_new_metatable(L, NNL_KEPT_SAMPLER, "sampler", of_sampler);
    set_methods(L, sampler_methods);
    nnl_push_function(L, new_decoder, 0);
    lua_setfield(L, NNL_CORE_INDEX, "decoder");
    nnl_push_function(L, new_sampler, 0);
    lua_setfield(L, NNL_CORE_INDEX, "sampler");
}
