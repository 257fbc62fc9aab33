// sound.h: WAV, FLAC, OGG and what else libsndfile reads and writes; changing the rate. Every byte of a file
// is untrusted. nnl_sound_look and nnl_sound_decode know no context and may be called from any thread.
#ifndef NNL_IO_SOUND_H
#define NNL_IO_SOUND_H

#include "tensor/tensor.h"

#include <stdbool.h>

#define NNL_SOUND_MESSAGE 256

typedef struct nnl_sound_info {
    int64_t frames; // samples of each channel, as the file says: damaged files may hold less
    int channels, rate;
} nnl_sound_info;

// What the bytes of a file hold; false with a message where they are no sound.
bool nnl_sound_look(const void *data, size_t size, nnl_sound_info *info, char message[NNL_SOUND_MESSAGE]);

// Up to `capacity` samples of each channel, from -1 to 1, channel after channel at `capacity` floats'
// distance; `mono`: their mean, as one. Returns how many there were, -1 with a message where the bytes are no
// sound.
int64_t nnl_sound_decode(const void *data, size_t size, bool mono, float *out, int64_t capacity,
                         char message[NNL_SOUND_MESSAGE]);

// All of it: a tensor (channels, frames) of float32, or (1, frames). Return new, or NULL with the context's
// error.
nnl_tensor *nnl_sound_load(nnl_context *ctx, const char *path, bool mono, int *rate);
nnl_tensor *nnl_sound_parse(nnl_context *ctx, const void *data, size_t size, bool mono, int *rate);

typedef enum nnl_sound_format { NNL_SOUND_WAV, NNL_SOUND_FLAC, NNL_SOUND_OGG } nnl_sound_format;

// (channels, frames) of float32, contiguous; values beyond -1 and 1 are cut off. `bits` is 16, 24 or 32
// (floats) for WAV, 16 or 24 for FLAC, and means nothing for OGG. Replaces the file at once, or not at all.
nnl_status nnl_sound_save(nnl_context *ctx, const char *path, const nnl_tensor *t, int rate,
                          nnl_sound_format format, int bits);

// ---- another rate, by a sinc under a Hann window of 6 zeros on either side, with what lies above 0.99 of
// the lower of the two limits taken away (Smith, "Digital audio resampling", 2002). As plans of features:
// made once, then only read, by any thread.
typedef struct nnl_resampler nnl_resampler;

nnl_resampler *nnl_resampler_new(nnl_context *ctx, int64_t from, int64_t to);
void nnl_resampler_free(nnl_resampler *plan);
int64_t nnl_resampler_length(const nnl_resampler *plan, int64_t samples);
// Leaves the rest undone where `pool`, if it is not NULL, is to stop.
void nnl_resampler_run(const nnl_resampler *plan, const nnl_pool *pool, const float *samples, int64_t count,
                       float *out);

#endif
