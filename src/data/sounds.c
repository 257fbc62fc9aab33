// sounds.c: the supply of sounds in files: read, brought to one rate and one length, and turned into
// features.
#include "data/feed.h"
#include "io/file.h"

#include <string.h>

typedef struct sounds {
    nnl_supply base;
    nnl_context *ctx;
    nnl_sounds_options options;
    nnl_features *plan; // NULL: the signals themselves
    char *text;
    size_t *path; // where each begins in `text`
} sounds;

// A new (channels, samples) tensor, and an end of the old one.
static nnl_tensor *another_rate(nnl_context *ctx, nnl_tensor *x, int from, int to) {
    nnl_resampler *plan = nnl_resampler_new(ctx, from, to);
    int64_t channels = x->shape.size[0], count = x->shape.size[1];
    nnl_shape shape = {2, {channels, plan ? nnl_resampler_length(plan, count) : 0}};
    nnl_tensor *t = plan ? nnl_tensor_new(ctx, NNL_FLOAT32, &shape) : NULL;
    for (int64_t c = 0; t && c < channels; c++)
        nnl_resampler_run(plan, NULL, (const float *)nnl_tensor_data(x) + c * count, count,
                          (float *)nnl_tensor_data(t) + c * shape.size[1]);
    nnl_resampler_free(plan);
    nnl_tensor_release(x);
    return t;
}

// The beginning, with silence behind it where the signal is shorter.
static nnl_tensor *of_length(nnl_context *ctx, nnl_tensor *x, int64_t length) {
    int64_t count = x->shape.size[1], kept = count < length ? count : length;
    nnl_shape shape = {2, {x->shape.size[0], length}};
    nnl_tensor *t = nnl_tensor_new(ctx, NNL_FLOAT32, &shape);
    if (t) memset(nnl_tensor_data(t), 0, t->storage->bytes);
    for (int64_t c = 0; t && c < shape.size[0]; c++)
        memcpy((float *)nnl_tensor_data(t) + c * length, (const float *)nnl_tensor_data(x) + c * count,
               (size_t)kept * sizeof(float));
    nnl_tensor_release(x);
    return t;
}

static nnl_tensor *features_new(nnl_context *ctx, const sounds *s, int64_t channels, int64_t samples) {
    bool complex = s->options.features->feature == NNL_FEATURE_STFT;
    int64_t frames = nnl_features_frames(s->plan, samples);
    nnl_shape shape = {complex ? 4 : 3, {channels, nnl_features_rows(s->plan), frames, 2}};
    if (frames > 0) return nnl_tensor_new(ctx, NNL_FLOAT32, &shape);
    return nnl_fail_null(ctx, NNL_ERR_IO, "%lld samples are too few for one frame of the features",
                         (long long)samples);
}

static nnl_tensor *features_of(nnl_context *ctx, const sounds *s, nnl_tensor *x) {
    int64_t channels = x->shape.size[0], count = x->shape.size[1];
    nnl_tensor *t = features_new(ctx, s, channels, count);
    size_t floats = t ? nnl_features_scratch(s->plan, nnl_features_frames(s->plan, count)) : 0;
    float *scratch = nnl_alloc(&ctx->allocator, (floats + 1) * sizeof *scratch);
    if (t && !scratch) {
        nnl_tensor_release(t);
        t = nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for features");
    }
    for (int64_t c = 0; t && c < channels; c++)
        nnl_features_run(s->plan, (const float *)nnl_tensor_data(x) + c * count, count,
                         (float *)nnl_tensor_data(t) + c * (nnl_tensor_numel(t) / channels), scratch);
    nnl_free(&ctx->allocator, scratch);
    nnl_tensor_release(x);
    return t;
}

static nnl_status load_sound(const nnl_supply *supply, nnl_context *ctx, int64_t index, nnl_sample *sample) {
    const sounds *s = (const sounds *)supply;
    int rate = 0, wanted = s->options.rate;
    nnl_tensor *t = nnl_sound_load(ctx, s->text + s->path[index], s->options.mono, &rate);
    if (!t) return ctx->status;
    if (wanted > 0 && rate != wanted) t = another_rate(ctx, t, rate, wanted);
    if (t && s->options.length > 0 && t->shape.size[1] != s->options.length)
        t = of_length(ctx, t, s->options.length);
    if (t && s->plan) t = features_of(ctx, s, t);
    if (!t) return nnl_file_blame(ctx, s->text + s->path[index]);
    *sample = (nnl_sample){t->dtype, t->shape, nnl_tensor_data(t), t};
    return NNL_OK;
}

static const char *sound_name(const nnl_supply *supply, int64_t index) {
    const sounds *s = (const sounds *)supply;
    return s->text + s->path[index];
}

static void free_sounds(nnl_supply *supply) {
    sounds *s = (sounds *)supply;
    nnl_context *ctx = s->ctx;
    nnl_features_free(s->plan);
    nnl_free(&ctx->allocator, s->text);
    nnl_free(&ctx->allocator, s->path);
    nnl_free(&ctx->allocator, (void *)s->options.features);
    nnl_supply_end(supply, ctx);
}

// Its own copy of the options: the plan knows all else.
static nnl_status make_plan(nnl_context *ctx, sounds *s, const nnl_feature_options *options) {
    s->options.features = NULL;
    if (!options) return NNL_OK;
    nnl_feature_options *copy = nnl_alloc(&ctx->allocator, sizeof *copy);
    if (!copy) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for features");
    *copy = *options;
    s->options.features = copy;
    s->plan = nnl_features_new(ctx, options);
    return s->plan ? NNL_OK : ctx->status;
}

nnl_supply *nnl_supply_sounds(nnl_context *ctx, const char *paths, size_t size, int64_t count,
                              const nnl_sounds_options *options) {
    static const nnl_supply_class class = {load_sound, free_sounds, sound_name, NULL};
    sounds *s = nnl_supply_begin(ctx, sizeof *s, &class, count);
    if (!s) return NULL;
    s->ctx = ctx;
    s->options = *options;
    nnl_status status = make_plan(ctx, s, options->features);
    if (status == NNL_OK) status = nnl_supply_paths(ctx, paths, size, count, &s->text, &s->path);
    if (status == NNL_OK) return &s->base;
    free_sounds(&s->base);
    return NULL;
}
