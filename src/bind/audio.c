// audio.c: nnlua.core.sound: files of sound, and features of it. lua/nnlua/audio.lua checks the options'
// names.
#include "bind/audio.h"
#include "io/sound.h"

#include <string.h>

// ---- files

// sound.load(path or nil, bytes or nil, mono): tensor (channels, frames), rate.
static int sound_load(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    size_t size = 0;
    int rate = 0;
    bool from_file = !lua_isnoneornil(L, 1), mono = lua_toboolean(L, 3);
    const char *path = from_file ? nnl_check_path(L, 1) : NULL;
    const char *bytes = from_file ? NULL : luaL_checklstring(L, 2, &size);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    *slot = from_file ? nnl_sound_load(bind->ctx, path, mono, &rate)
                      : nnl_sound_parse(bind->ctx, bytes, size, mono, &rate);
    if (!*slot) return nnl_fail_io(L, bind);
    lua_pushinteger(L, rate);
    return 2;
}

// sound.save(path, tensor (channels, frames) of float32, rate, "wav" "flac" or "ogg", bits): true.
static int sound_save(lua_State *L) {
    static const char *const formats[] = {"wav", "flac", "ogg", NULL};
    nnl_bind *bind = nnl_bind_of(L);
    const char *path = nnl_check_path(L, 1);
    const nnl_tensor *t = nnl_check_tensor(L, bind, 2);
    int rate = (int)nnl_check_integer(L, bind, 3);
    int format = luaL_checkoption(L, 4, NULL, formats), bits = (int)nnl_check_integer(L, bind, 5);
    if (t->shape.ndim != 2 || t->dtype != NNL_FLOAT32 || !nnl_tensor_is_contiguous(t))
        nnl_arg_error(L, bind, 2, "expected (channels, frames) of float32, contiguous");
    if (nnl_sound_save(bind->ctx, path, t, rate, (nnl_sound_format)format, bits) != NNL_OK)
        return nnl_fail_io(L, bind);
    lua_pushboolean(L, true);
    return 1;
}

// ---- features

static int64_t integer_field(lua_State *L, int table, const char *name, int64_t fallback) {
    lua_getfield(L, table, name);
    int64_t value = fallback;
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

static bool bool_field(lua_State *L, int table, const char *name, bool fallback) {
    lua_getfield(L, table, name);
    bool value = lua_isnil(L, -1) ? fallback : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static int word_field(lua_State *L, int table, const char *name, const char *const *words) {
    lua_getfield(L, table, name);
    const char *word = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : words[0];
    int place = 0;
    while (words[place] && strcmp(words[place], word) != 0) place++;
    if (!words[place]) nnl_error(L, "%s: unknown word '%s'", name, word);
    lua_pop(L, 1);
    return place;
}

// The window may be a tensor of win_length numbers, which stays in the table.
static void window_field(lua_State *L, const nnl_bind *bind, int table, nnl_feature_options *o) {
    static const char *const windows[] = {"hann", "hamming", "blackman", "ones", NULL};
    lua_getfield(L, table, "window");
    const nnl_tensor *own = nnl_to_tensor(L, bind, -1);
    lua_pop(L, 1);
    if (!own) {
        o->window = (nnl_window)word_field(L, table, "window", windows);
        return;
    }
    int64_t length = o->win_length ? o->win_length : o->n_fft;
    if (own->dtype != NNL_FLOAT32 || !nnl_tensor_is_contiguous(own) || nnl_tensor_numel(own) != length)
        nnl_error(L, "window: expected %I numbers (win_length), got %I", (LUAI_UACINT)length,
                  (LUAI_UACINT)nnl_tensor_numel(own));
    o->own_window = nnl_tensor_data(own);
}

nnl_feature_options nnl_read_features(lua_State *L, const nnl_bind *bind, int table) {
    static const char *const features[] = {"stft", "spectrogram", "mel_spectrogram", "mfcc", NULL};
    static const char *const pads[] = {"reflect", "constant", "replicate", NULL};
    static const char *const scales[] = {"none", "frame_length", "window", NULL};
    static const char *const mel_scales[] = {"htk", "slaney", NULL}, *const norms[] = {"none", "slaney",
                                                                                       NULL};
    nnl_feature_options o = nnl_feature_defaults((nnl_feature)word_field(L, table, "feature", features));
    o.n_fft = integer_field(L, table, "n_fft", o.n_fft);
    o.hop_length = integer_field(L, table, "hop_length", 0);
    o.win_length = integer_field(L, table, "win_length", 0);
    o.n_mels = integer_field(L, table, "n_mels", o.n_mels);
    o.n_mfcc = integer_field(L, table, "n_mfcc", o.n_mfcc);
    o.center = bool_field(L, table, "center", true);
    o.log_mels = bool_field(L, table, "log_mels", false);
    o.pad = (nnl_sound_pad)word_field(L, table, "pad_mode", pads);
    o.scale = (nnl_spectrum_scale)word_field(L, table, "normalized", scales);
    o.slaney_scale = word_field(L, table, "mel_scale", mel_scales) == 1;
    o.slaney_norm = word_field(L, table, "norm", norms) == 1;
    o.power = number_field(L, table, "power", o.power);
    o.rate = number_field(L, table, "rate", o.rate);
    o.f_min = number_field(L, table, "f_min", 0);
    o.f_max = number_field(L, table, "f_max", 0);
    o.top_db = number_field(L, table, "top_db", o.top_db);
    window_field(L, bind, table, &o);
    return o;
}

static nnl_tensor *bank_of(nnl_context *ctx, const nnl_features *plan, const nnl_feature_options *o) {
    nnl_shape shape = {.ndim = 2, .size = {o->n_fft / 2 + 1, o->n_mels}};
    nnl_tensor *t = nnl_tensor_new(ctx, NNL_FLOAT32, &shape);
    if (t) nnl_features_bank(plan, nnl_tensor_data(t));
    return t;
}

static nnl_tensor *features_of(nnl_context *ctx, const nnl_features *plan, nnl_feature feature,
                               const nnl_tensor *x) {
    int64_t signals = x->shape.size[0], samples = x->shape.size[1];
    int64_t frames = nnl_features_frames(plan, samples);
    if (frames == 0)
        return nnl_fail_null(ctx, NNL_ERR_SHAPE,
                             "a signal of %lld samples is too short for one frame and its padding",
                             (long long)samples);
    bool complex = feature == NNL_FEATURE_STFT;
    nnl_shape shape = {.ndim = complex ? 4 : 3, .size = {signals, nnl_features_rows(plan), frames, 2}};
    nnl_tensor *t = nnl_tensor_new(ctx, NNL_FLOAT32, &shape);
    if (!t || nnl_features_all(plan, nnl_tensor_data(x), signals, samples, nnl_tensor_data(t)) == NNL_OK)
        return t;
    nnl_tensor_release(t);
    return NULL;
}

// sound.features(options[, x (signals, samples) of float32, contiguous]): the features (signals, rows,
// frames[, 2]); without x, the bank of mel weights.
static int sound_features(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    const nnl_tensor *x = lua_isnoneornil(L, 2) ? NULL : nnl_check_tensor(L, bind, 2);
    if (x && (x->shape.ndim != 2 || x->dtype != NNL_FLOAT32 || !nnl_tensor_is_contiguous(x)))
        nnl_arg_error(L, bind, 2, "expected (signals, samples) of float32, contiguous");
    nnl_feature_options options = nnl_read_features(L, bind, 1);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    nnl_features *plan = nnl_features_new(bind->ctx, &options);
    if (!plan) return nnl_raise(L, bind);
    nnl_tensor *t = x ? features_of(bind->ctx, plan, options.feature, x) : bank_of(bind->ctx, plan, &options);
    nnl_features_free(plan);
    return nnl_fill_slot(L, bind, slot, t);
}

// ---- another rate

static nnl_tensor *resampled(nnl_context *ctx, const nnl_resampler *plan, const nnl_tensor *x) {
    int64_t signals = x->shape.size[0], count = x->shape.size[1], length = nnl_resampler_length(plan, count);
    nnl_shape shape = {.ndim = 2, .size = {signals, length}};
    nnl_tensor *t = nnl_tensor_new(ctx, NNL_FLOAT32, &shape);
    for (int64_t i = 0; t && i < signals; i++)
        nnl_resampler_run(plan, ctx->pool, (const float *)nnl_tensor_data(x) + i * count, count,
                          (float *)nnl_tensor_data(t) + i * length);
    if (!t || nnl_check_stop(ctx, "resample") == NNL_OK) return t;
    nnl_tensor_release(t);
    return NULL;
}

// sound.resample(x (signals, samples) of float32, contiguous, from, to): (signals, samples).
static int sound_resample(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_tensor *x = nnl_check_tensor(L, bind, 1);
    int64_t from = nnl_check_integer(L, bind, 2), to = nnl_check_integer(L, bind, 3);
    if (x->shape.ndim != 2 || x->dtype != NNL_FLOAT32 || !nnl_tensor_is_contiguous(x))
        nnl_arg_error(L, bind, 1, "expected (signals, samples) of float32, contiguous");
    nnl_tensor **slot = nnl_push_slot(L, bind);
    nnl_resampler *plan = nnl_resampler_new(bind->ctx, from, to);
    if (!plan) return nnl_raise(L, bind);
    nnl_tensor *t = resampled(bind->ctx, plan, x);
    nnl_resampler_free(plan);
    return nnl_fill_slot(L, bind, slot, t);
}

void nnl_open_sound(lua_State *L) {
    static const luaL_Reg functions[] = {{"load", sound_load},
                                         {"save", sound_save},
                                         {"features", sound_features},
                                         {"resample", sound_resample},
                                         {NULL, NULL}};
    lua_newtable(L);
    nnl_set_functions(L, functions);
    lua_setfield(L, NNL_CORE_INDEX, "sound");
}
