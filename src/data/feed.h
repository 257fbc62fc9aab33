// feed.h: batches made ahead of the training by threads of their own. A supply is where the samples of one
// value of a batch come from; a field is a supply with the steps that each sample goes through; a feed
// gathers batches of some fields in a given order. The same bits for any number of threads: what is random
// depends on a sample's place only.
#ifndef NNL_DATA_FEED_H
#define NNL_DATA_FEED_H

#include "data/transform.h"
#include "io/bytes.h"
#include "io/features.h"
#include "io/image.h"
#include "io/sound.h"

#define NNL_MAX_FIELDS 8

// ---- supplies: counted, by the thread of their context alone. Threads of feeds only read them.

typedef struct nnl_supply nnl_supply;

// A sample: contiguous memory of the supply's, or of `owner`, which whoever loads it releases.
typedef struct nnl_sample {
    nnl_dtype dtype;
    nnl_shape shape;
    const void *data;
    nnl_tensor *owner; // of the context that loaded it; or NULL
} nnl_sample;

typedef struct nnl_supply_class {
    // Sample `index`, from 0. Called by any thread, with a context of that thread; an error is in that
    // context.
    nnl_status (*load)(const nnl_supply *supply, nnl_context *ctx, int64_t index, nnl_sample *sample);
    void (*free)(nnl_supply *supply); // all of it
    // NULL, or the name of a sample for messages, borrowed.
    const char *(*name)(const nnl_supply *supply, int64_t index);
    // NULL, or has memory fetched into the cache: the sample is wanted soon.
    void (*ahead)(const nnl_supply *supply, int64_t index);
} nnl_supply_class;

// The first field of each kind of supply.
struct nnl_supply {
    const nnl_supply_class *class;
    int refs;
    int64_t count;
};

// Rows of a tensor, which is retained and contiguous. Returns new.
nnl_supply *nnl_supply_rows(nnl_context *ctx, nnl_tensor *t);
// Pictures in files; `paths` are `count` texts, each ended by a zero, one after another. Returns new.
nnl_supply *nnl_supply_pictures(nnl_context *ctx, const char *paths, size_t size, int64_t count,
                                const nnl_image_options *options);

typedef struct nnl_sounds_options {
    bool mono;
    int rate;       // that all are brought to; 0: as they are
    int64_t length; // in samples, cut off or filled with silence at the end; 0: as they are
    const nnl_feature_options *features; // of (channels, rows, frames); NULL: the signals (channels, samples)
} nnl_sounds_options;

// Sounds in files, as pictures are. Returns new.
nnl_supply *nnl_supply_sounds(nnl_context *ctx, const char *paths, size_t size, int64_t count,
                              const nnl_sounds_options *options);
// One after another; retains them. Returns new.
nnl_supply *nnl_supply_joined(nnl_context *ctx, nnl_supply *const *part, int64_t count);

static inline nnl_supply *nnl_supply_retain(nnl_supply *supply) {
    supply->refs++;
    return supply;
}

void nnl_supply_release(nnl_supply *supply); // NULL is allowed

// For those who make supplies: memory that begins with an nnl_supply and is cleared; its end; a copy of
// paths.
void *nnl_supply_begin(nnl_context *ctx, size_t size, const nnl_supply_class *class, int64_t count);
void nnl_supply_end(nnl_supply *supply, nnl_context *ctx);
nnl_status nnl_supply_paths(nnl_context *ctx, const char *paths, size_t size, int64_t count, char **text,
                            size_t **path);

// ---- feeds

typedef struct nnl_field {
    nnl_supply *supply;
    const nnl_step *step; // copied
    int count;
} nnl_field;

typedef struct nnl_feed_options {
    int64_t batch_size;
    int64_t skip;   // batches at the beginning that are left out
    bool drop_last; // a batch that is not full
    bool skip_bad;  // samples that cannot be loaded are left out; else they are errors
    bool loose;     // every batch is one sample without a dimension for the batch
    int workers;    // threads; 0: the caller does it all
    int prefetch;   // batches made ahead
    uint64_t seed;
} nnl_feed_options;

typedef struct nnl_feed nnl_feed;

// `order`: positions from 1, int64 and contiguous, retained. Returns new; the threads start with the first
// batch.
nnl_feed *nnl_feed_new(nnl_context *ctx, const nnl_field *field, int fields, nnl_tensor *order,
                       const nnl_feed_options *options);
// The next batch, one new tensor for each field in `out`; `*more` is false, and nothing in `out`, when there
// is none.
nnl_status nnl_feed_next(nnl_feed *feed, nnl_tensor **out, bool *more);
// Samples left out so far because of errors, and the text of the first.
int64_t nnl_feed_skipped(const nnl_feed *feed, const char **first);
void nnl_feed_free(nnl_feed *feed); // ends the threads; NULL is allowed

#endif
