// feed.c: core.feed: steps for pictures, supplies of samples, and feeds of batches as userdata. What scripts
// see of them is made in lua/nnlua/transforms.lua, datasets.lua and loader.lua, which check the arguments.
#include "data/feed.h"
#include "bind/audio.h"

#include <stdlib.h>
#include <string.h>

// ---- steps

typedef struct steps {
    int count;
    nnl_step step[];
} steps;

static int steps_gc(lua_State *L) {
    steps **object = lua_touserdata(L, 1);
    free(*object);
    *object = NULL;
    return 0;
}

static steps *check_steps(lua_State *L, const nnl_bind *bind, int arg) {
    steps *s = nnl_to_object(L, bind, arg, NNL_KEPT_STEPS);
    if (!s) nnl_type_error(L, bind, arg, "steps");
    return s;
}

// The step {name, numbers...} on top.
static void read_step(lua_State *L, nnl_step *step) {
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_rawgeti(L, -1, 1);
    step->class = nnl_step_class_named(luaL_checkstring(L, -1));
    if (!step->class) {
        nnl_error(L, "there is no step '%s'", lua_tostring(L, -1));
        return;
    }
    for (int k = 0; k < step->class->numbers; k++) {
        lua_rawgeti(L, -2 - k, k + 2);
        step->number[k] = lua_tonumber(L, -1);
    }
    lua_pop(L, 1 + step->class->numbers);
}

// feed.steps{{name, number, ...}, ...}
static int new_steps(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkstack(L, NNL_STEP_NUMBERS + 8, NULL);
    int count = (int)lua_rawlen(L, 1);
    if (count > NNL_MAX_STEPS)
        nnl_error(L, "nn.image.compose: at most %d steps, got %d", NNL_MAX_STEPS, count);
    steps **slot = (steps **)nnl_push_object(L, bind, NNL_KEPT_STEPS);
    *slot = calloc(1, sizeof(steps) + (size_t)count * sizeof(nnl_step));
    if (!*slot) nnl_error(L, "out of memory: no room for steps");
    for (int k = 0; k < count; k++) {
        lua_rawgeti(L, 1, k + 1);
        read_step(L, &(*slot)->step[k]);
        lua_pop(L, 1);
    }
    (*slot)->count = count;
    return 1;
}

static uint64_t draw_seed(nnl_bind *bind, bool wanted) {
    if (!wanted) return 0;
    uint64_t high = nnl_random_word(&bind->ctx->random);
    return high << 32 | nnl_random_word(&bind->ctx->random);
}

// feed.apply(steps, tensor, random): a new tensor.
static int apply_steps(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const steps *s = check_steps(L, bind, 1);
    const nnl_tensor *x = nnl_check_tensor(L, bind, 2);
    uint64_t seed = draw_seed(bind, lua_toboolean(L, 3));
    nnl_tensor **slot = nnl_push_slot(L, bind);
    return nnl_fill_slot(L, bind, slot, nnl_transform_apply(bind->ctx, s->step, s->count, x, seed));
}

// ---- supplies

static int supply_gc(lua_State *L) {
    nnl_supply **object = lua_touserdata(L, 1);
    nnl_supply *supply = *object;
    *object = NULL;
    nnl_bind_finalizing(L);
    nnl_supply_release(supply);
    return 0;
}

static int fill_supply(lua_State *L, nnl_bind *bind, nnl_supply **slot, nnl_supply *supply) {
    *slot = supply;
    return supply ? 1 : nnl_raise(L, bind);
}

static int rows(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    if (!nnl_tensor_is_contiguous(t)) nnl_error(L, "rows: the tensor must be contiguous");
    nnl_supply **slot = (nnl_supply **)nnl_push_object(L, bind, NNL_KEPT_SUPPLY);
    return fill_supply(L, bind, slot, nnl_supply_rows(bind->ctx, t));
}

// feed.pictures(paths, count, mode, dtype, orient, truncated, max_pixels); each path ends with a zero.
static int pictures(lua_State *L) {
    static const char *const modes[] = {"unchanged", "gray", "rgb", "rgba", NULL};
    nnl_bind *bind = nnl_bind_of(L);
    size_t size, ends = 0;
    const char *paths = luaL_checklstring(L, 1, &size);
    int64_t count = nnl_check_integer(L, bind, 2);
    nnl_image_options options = nnl_image_defaults();
    options.mode = (nnl_image_mode)luaL_checkoption(L, 3, "rgb", modes);
    if (!lua_isnoneornil(L, 4)) options.dtype = nnl_check_dtype(L, bind, 4);
    if (!lua_isnoneornil(L, 5)) options.orient = lua_toboolean(L, 5);
    options.truncated = lua_toboolean(L, 6);
    if (!lua_isnoneornil(L, 7)) options.max_pixels = nnl_check_integer(L, bind, 7);
    for (size_t i = 0; i < size; i++) ends += paths[i] == '\0';
    luaL_argcheck(L, (int64_t)ends == count && count > 0, 1, "a path has no zero bytes");
    nnl_supply **slot = (nnl_supply **)nnl_push_object(L, bind, NNL_KEPT_SUPPLY);
    return fill_supply(L, bind, slot, nnl_supply_pictures(bind->ctx, paths, size, count, &options));
}

// feed.sounds(paths, count, mono, rate, length[, options of features])
static int sounds(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    size_t size, ends = 0;
    const char *paths = luaL_checklstring(L, 1, &size);
    int64_t count = nnl_check_integer(L, bind, 2);
    nnl_sounds_options options = {.mono = lua_toboolean(L, 3)};
    nnl_feature_options features;
    if (!lua_isnoneornil(L, 4)) options.rate = (int)nnl_check_integer(L, bind, 4);
    if (!lua_isnoneornil(L, 5)) options.length = nnl_check_integer(L, bind, 5);
    if (!lua_isnoneornil(L, 6)) {
        luaL_checktype(L, 6, LUA_TTABLE);
        features = nnl_read_features(L, bind, 6);
        options.features = &features;
    }
    for (size_t i = 0; i < size; i++) ends += paths[i] == '\0';
    luaL_argcheck(L, (int64_t)ends == count && count > 0, 1, "a path has no zero bytes");
    nnl_supply **slot = (nnl_supply **)nnl_push_object(L, bind, NNL_KEPT_SUPPLY);
    return fill_supply(L, bind, slot, nnl_supply_sounds(bind->ctx, paths, size, count, &options));
}

static nnl_supply *check_supply(lua_State *L, const nnl_bind *bind, int arg) {
    nnl_supply *supply = nnl_to_object(L, bind, arg, NNL_KEPT_SUPPLY);
    if (!supply) nnl_type_error(L, bind, arg, "supply");
    return supply;
}

// feed.load(supply, index): sample `index`, from 1, of files; nil and a message where it cannot be read.
static int load_one(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_supply *supply = check_supply(L, bind, 1);
    int64_t index = nnl_check_integer(L, bind, 2);
    nnl_sample sample = {.owner = NULL};
    luaL_argcheck(L, index >= 1 && index <= supply->count, 2, "no such sample");
    nnl_tensor **slot = nnl_push_slot(L, bind);
    if (supply->class->load(supply, bind->ctx, index - 1, &sample) != NNL_OK) return nnl_fail_io(L, bind);
    *slot = sample.owner;
    return sample.owner ? 1 : nnl_error(L, "load: the samples are no files");
}

static int joined(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    int64_t count = (int64_t)lua_rawlen(L, 1);
    nnl_supply **part = nnl_lua_new_userdata(L, (size_t)(count + 1) * sizeof(nnl_supply *), 0);
    for (int64_t k = 0; k < count; k++) {
        lua_rawgeti(L, 1, (lua_Integer)k + 1);
        part[k] = check_supply(L, bind, lua_gettop(L));
        lua_pop(L, 1);
    }
    nnl_supply **slot = (nnl_supply **)nnl_push_object(L, bind, NNL_KEPT_SUPPLY);
    return fill_supply(L, bind, slot, nnl_supply_joined(bind->ctx, part, count));
}

// ---- feeds

static int feed_gc(lua_State *L) {
    nnl_feed **object = lua_touserdata(L, 1);
    nnl_feed *feed = *object;
    *object = NULL;
    nnl_bind_finalizing(L);
    nnl_feed_free(feed);
    return 0;
}

// {supply, steps or false, supply, steps or false, ...} at index 1.
static int read_fields(lua_State *L, const nnl_bind *bind, nnl_field *field) {
    luaL_checktype(L, 1, LUA_TTABLE);
    int fields = (int)lua_rawlen(L, 1) / 2;
    luaL_argcheck(L, fields >= 1 && fields <= NNL_MAX_FIELDS, 1, "1 to 8 values");
    for (int f = 0; f < fields; f++) {
        lua_rawgeti(L, 1, 2 * f + 1);
        lua_rawgeti(L, 1, 2 * f + 2);
        const steps *s = lua_toboolean(L, -1) ? check_steps(L, bind, lua_gettop(L)) : NULL;
        field[f] =
            (nnl_field){check_supply(L, bind, lua_gettop(L) - 1), s ? s->step : NULL, s ? s->count : 0};
        lua_pop(L, 2);
    }
    return fields;
}

// feed.new(fields, order, {batch_size, skip, drop_last, skip_bad, loose, workers, prefetch, random})
static int new_feed(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_field field[NNL_MAX_FIELDS];
    int64_t number[4];
    static const char *const numbers[] = {"batch_size", "skip", "workers", "prefetch"};
    int fields = read_fields(L, bind, field);
    nnl_tensor *order = nnl_check_tensor(L, bind, 2);
    luaL_argcheck(L, order->dtype == NNL_INT64 && nnl_tensor_is_contiguous(order), 2, "int64 expected");
    luaL_checktype(L, 3, LUA_TTABLE);
    for (int k = 0; k < 4; k++) {
        lua_getfield(L, 3, numbers[k]);
        number[k] = nnl_check_integer(L, bind, lua_gettop(L));
        lua_pop(L, 1);
    }
    nnl_feed_options options = {.batch_size = number[0], .skip = number[1]};
    options.workers = (int)(number[2] < 64 ? number[2] : 64);
    options.prefetch = (int)(number[3] < 1024 ? number[3] : 1024);
    options.drop_last = nnl_option_bool(L, bind, 3, "drop_last");
    options.skip_bad = nnl_option_bool(L, bind, 3, "skip_bad");
    options.loose = nnl_option_bool(L, bind, 3, "loose");
    options.seed = draw_seed(bind, nnl_option_bool(L, bind, 3, "random"));
    nnl_feed **slot = (nnl_feed **)nnl_push_object(L, bind, NNL_KEPT_FEED);
    *slot = nnl_feed_new(bind->ctx, field, fields, order, &options);
    lua_pushinteger(L, fields);
    return *slot ? 2 : nnl_raise(L, bind);
}

static nnl_feed *check_feed(lua_State *L, const nnl_bind *bind) {
    nnl_feed *feed = nnl_to_object(L, bind, 1, NNL_KEPT_FEED);
    if (!feed) nnl_error(L, "the batches of this loop were ended");
    return feed;
}

// feed.next(feed, number of fields): the values of the next batch; nothing when there is none.
static int next_batch(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_feed *feed = check_feed(L, bind);
    int fields = (int)nnl_check_integer(L, bind, 2);
    nnl_tensor *out[NNL_MAX_FIELDS], **slot[NNL_MAX_FIELDS];
    bool more;
    luaL_argcheck(L, fields >= 1 && fields <= NNL_MAX_FIELDS, 2, "1 to 8 values");
    luaL_checkstack(L, NNL_MAX_FIELDS + 8, NULL);
    for (int f = 0; f < fields; f++) slot[f] = nnl_push_slot(L, bind);
    if (nnl_feed_next(feed, out, &more) != NNL_OK) return nnl_raise(L, bind);
    for (int f = 0; more && f < fields; f++) *slot[f] = out[f];
    return more ? fields : 0;
}

static int supply_count(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    lua_pushinteger(L, (lua_Integer)check_supply(L, bind, 1)->count);
    return 1;
}

static int stop_feed(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    return nnl_to_object(L, bind, 1, NNL_KEPT_FEED) ? feed_gc(L) : 0;
}

static int skipped(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const char *first;
    lua_pushinteger(L, (lua_Integer)nnl_feed_skipped(check_feed(L, bind), &first));
    lua_pushstring(L, first);
    return 2;
}

static const luaL_Reg functions[] = {
    {"steps", new_steps}, {"apply", apply_steps},  {"rows", rows},       {"pictures", pictures},
    {"joined", joined},   {"new", new_feed},       {"next", next_batch}, {"stop", stop_feed},
    {"skipped", skipped}, {"count", supply_count}, {"sounds", sounds},   {"load", load_one},
    {NULL, NULL},
};

void nnl_open_feed(lua_State *L) {
    static const luaL_Reg of_steps[] = {{"__gc", steps_gc}, {NULL, NULL}};
    static const luaL_Reg of_supply[] = {{"__gc", supply_gc}, {NULL, NULL}};
    static const luaL_Reg of_feed[] = {{"__gc", feed_gc}, {"__close", feed_gc}, {NULL, NULL}};
    nnl_new_metatable(L, NNL_KEPT_STEPS, "steps", of_steps);
    nnl_new_metatable(L, NNL_KEPT_SUPPLY, "supply", of_supply);
    nnl_new_metatable(L, NNL_KEPT_FEED, "feed", of_feed);
    lua_newtable(L);
    nnl_set_functions(L, functions);
    lua_setfield(L, NNL_CORE_INDEX, "feed");
}
