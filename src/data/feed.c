// feed.c: see feed.h. Batches stand in a ring. A thread claims the next one that nobody makes yet, makes all
// of it, and puts it there; the caller takes them in order, and makes one itself where no thread has come to
// it yet. Memory of a batch comes from malloc and becomes the tensor's that the caller wraps around it: no
// copy is made.
#define _GNU_SOURCE 1
#include "data/feed.h"
#include "kernel/kernel.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORKERS 64
#define AHEAD 3              // samples between fetching memory and using it
#define LOOK_AROUND 50000000 // nanoseconds after which a waiting caller asks whether it shall stop

// One value of a batch. Samples of another form than the first's are an error.
typedef struct column {
    nnl_dtype dtype;
    nnl_shape shape; // of a sample
    size_t bytes;    // of a sample
    char *data;
} column;

typedef enum state { EMPTY, CLAIMED, READY } state;

typedef struct batch {
    state state;
    int64_t samples, skipped;
    nnl_status status;
    char error[NNL_ERROR_SIZE]; // or the first reason to skip a sample
    column column[NNL_MAX_FIELDS];
} batch;

// Who makes batches: a thread, or the caller.
typedef struct maker {
    nnl_feed *feed;
    nnl_context *ctx;
    nnl_runner runner[NNL_MAX_FIELDS];
    pthread_t thread;
} maker;

struct nnl_feed {
    nnl_context *ctx; // of the caller
    nnl_feed_options options;
    int fields;
    nnl_supply *supply[NNL_MAX_FIELDS];
    nnl_step *step[NNL_MAX_FIELDS];
    int steps[NNL_MAX_FIELDS];
    nnl_tensor *order;
    const int64_t *position;
    int64_t samples, batches;
    int64_t skipped;
    char first[NNL_ERROR_SIZE]; // why the first of these was skipped

    maker own;
    maker *worker;
    int workers; // that run
    bool started;
    pid_t process;

    pthread_mutex_t mutex; // for what follows
    pthread_cond_t room;   // a batch was taken, or the end
    pthread_cond_t made;   // a batch is ready
    bool stopping;
    int64_t taken, claimed; // the next batch to take, and to make
    int window;
    batch *ring;
};

// ---- making a batch

static nnl_status same_form(nnl_context *ctx, const column *c, nnl_dtype dtype, const nnl_shape *shape) {
    char text[NNL_SHAPE_TEXT], first[NNL_SHAPE_TEXT];
    if (c->dtype == dtype && nnl_shape_equal(&c->shape, shape)) return NNL_OK;
    return nnl_fail(
        ctx, NNL_ERR_SHAPE,
        "%s %s, where the batch began with %s %s: bring the samples to one size (nn.image.resize, "
        "nn.image.random_crop ...), or use a batch_size of 1",
        nnl_dtype_get(dtype)->name, nnl_shape_text(shape, text), nnl_dtype_get(c->dtype)->name,
        nnl_shape_text(&c->shape, first));
}

// The place for the batch's sample number `at`; the first one decides how large they all are.
static nnl_status place_of(nnl_feed *feed, nnl_context *ctx, column *c, int64_t at, nnl_dtype dtype,
                           const nnl_shape *shape, char **place) {
    if (!c->data) {
        int64_t stride[NNL_MAX_DIMS];
        nnl_shape whole = {shape->ndim + 1, {feed->options.batch_size}};
        if (shape->ndim + 1 > NNL_MAX_DIMS)
            return nnl_fail(ctx, NNL_ERR_SHAPE, "a batch has at most %d dimensions", NNL_MAX_DIMS);
        memcpy(whole.size + 1, shape->size, (size_t)shape->ndim * sizeof *shape->size);
        int64_t bytes = nnl_shape_layout(ctx, "batch", &whole, nnl_dtype_size(dtype), stride);
        if (bytes < 0) return ctx->status;
        size_t room = ((size_t)bytes + NNL_ALIGNMENT) / NNL_ALIGNMENT * NNL_ALIGNMENT;
        c->data = aligned_alloc(NNL_ALIGNMENT, room);
        if (!c->data)
            return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: %zu bytes wanted for a batch", room);
        c->dtype = dtype;
        c->shape = *shape;
        c->bytes = (size_t)bytes / (size_t)feed->options.batch_size;
    }
    *place = c->data + (size_t)at * c->bytes;
    return same_form(ctx, c, dtype, shape);
}

static nnl_status copy_sample(maker *m, column *c, int64_t at, const nnl_sample *sample) {
    char *place;
    if (place_of(m->feed, m->ctx, c, at, sample->dtype, &sample->shape, &place) != NNL_OK)
        return m->ctx->status;
    memcpy(place, sample->data, c->bytes);
    return NNL_OK;
}

static nnl_status transform_sample(maker *m, int f, column *c, int64_t at, int64_t number,
                                   const nnl_sample *sample) {
    nnl_runner *runner = &m->runner[f];
    nnl_draw draw = {.seed = m->feed->options.seed + (uint64_t)f, .sample = (uint64_t)number};
    nnl_frame in, out;
    char *place;
    if (nnl_frame_of(m->ctx, sample->dtype, &sample->shape, (void *)sample->data, &in) != NNL_OK ||
        nnl_runner_plan(runner, &in, &draw, &out) != NNL_OK)
        return m->ctx->status;
    nnl_shape shape = nnl_frame_shape(&out, sample->shape.ndim);
    if (place_of(m->feed, m->ctx, c, at, out.dtype, &shape, &place) != NNL_OK) return m->ctx->status;
    out.data = place;
    return nnl_runner_run(runner, &in, &out);
}

// Says whose error it is, unless the supply did.
static void blame(maker *m, const nnl_supply *supply, int64_t index) {
    const char *name = supply->class->name ? supply->class->name(supply, index) : NULL;
    char text[NNL_ERROR_SIZE];
    memcpy(text, m->ctx->error, sizeof text);
    if (name)
        nnl_fail(m->ctx, m->ctx->status, "%.200s: %s", name, text);
    else
        nnl_fail(m->ctx, m->ctx->status, "sample %lld: %s", (long long)index + 1, text);
}

// Sample `number` of the whole order, as the batch's sample number `at`.
static nnl_status make_sample(maker *m, batch *b, int64_t at, int64_t number) {
    const nnl_feed *feed = m->feed;
    nnl_status status = NNL_OK;
    for (int f = 0; f < feed->fields && status == NNL_OK; f++) {
        const nnl_supply *supply = feed->supply[f];
        nnl_sample sample = {.owner = NULL};
        int64_t index = feed->position[number] - 1;
        status = supply->class->load(supply, m->ctx, index, &sample);
        if (status != NNL_OK) break;
        status = feed->steps[f] > 0 ? transform_sample(m, f, &b->column[f], at, number, &sample)
                                    : copy_sample(m, &b->column[f], at, &sample);
        nnl_tensor_release(sample.owner);
        if (status != NNL_OK && status != NNL_ERR_MEMORY) blame(m, supply, index);
    }
    return status;
}

static void fetch(const nnl_feed *feed, int64_t number, int64_t end) {
    for (int f = 0; f < feed->fields && number < end; f++) {
        const nnl_supply *supply = feed->supply[f];
        if (supply->class->ahead) supply->class->ahead(supply, feed->position[number] - 1);
    }
}

static bool is_stopping(nnl_feed *feed) {
    pthread_mutex_lock(&feed->mutex);
    bool stopping = feed->stopping;
    pthread_mutex_unlock(&feed->mutex);
    return stopping;
}

// Samples that take long are looked after one by one: an end need not wait for the rest of a batch.
static void make_batch(maker *m, batch *b, int64_t number) {
    nnl_feed *feed = m->feed;
    int64_t first = (number + feed->options.skip) * feed->options.batch_size;
    int64_t end =
        first + feed->options.batch_size < feed->samples ? first + feed->options.batch_size : feed->samples;
    for (int64_t i = first; i < end; i++) {
        if ((i - first) % 16 == 15 && is_stopping(feed)) return;
        if (m == &feed->own && (i - first) % 16 == 15 && nnl_check_stop(feed->ctx, "batches") != NNL_OK) {
            b->status = feed->ctx->status;
            memcpy(b->error, feed->ctx->error, sizeof b->error);
            return;
        }
        fetch(feed, i + AHEAD, end);
        nnl_status status = make_sample(m, b, b->samples, i);
        if (status == NNL_OK) {
            b->samples++;
            continue;
        }
        if (b->skipped == 0) memcpy(b->error, m->ctx->error, sizeof b->error);
        if (feed->options.skip_bad && status != NNL_ERR_MEMORY) {
            b->skipped++;
            continue;
        }
        b->status = status;
        memcpy(b->error, m->ctx->error, sizeof b->error);
        return;
    }
}

// ---- threads

// The next batch that there is room for and nobody makes; -1 where there is none. With the mutex held.
static int64_t claim(nnl_feed *feed) {
    if (feed->claimed >= feed->batches || feed->claimed >= feed->taken + feed->window) return -1;
    int64_t number = feed->claimed++;
    feed->ring[number % feed->window] = (batch){.state = CLAIMED};
    return number;
}

// With the mutex held, which is let go of meanwhile.
static void make_claimed(maker *m, int64_t number) {
    nnl_feed *feed = m->feed;
    batch *b = &feed->ring[number % feed->window];
    pthread_mutex_unlock(&feed->mutex);
    make_batch(m, b, number);
    pthread_mutex_lock(&feed->mutex);
    b->state = READY;
    pthread_cond_broadcast(&feed->made);
}

static void *worker_main(void *arg) {
    maker *m = arg;
    nnl_feed *feed = m->feed;
    pthread_mutex_lock(&feed->mutex);
    while (!feed->stopping) {
        int64_t number = claim(feed);
        if (number < 0)
            pthread_cond_wait(&feed->room, &feed->mutex);
        else
            make_claimed(m, number);
    }
    pthread_mutex_unlock(&feed->mutex);
    return NULL;
}

static bool maker_init(nnl_feed *feed, maker *m) {
    *m = (maker){.feed = feed, .ctx = nnl_context_new()};
    if (!m->ctx) return false;
    nnl_pool_set_threads(m->ctx->pool, 1);
    m->ctx->kernels = nnl_kernels_best();
    m->ctx->grad_enabled = false;
    for (int f = 0; f < feed->fields; f++)
        m->runner[f] = (nnl_runner){.ctx = m->ctx, .step = feed->step[f], .count = feed->steps[f]};
    return true;
}

static void maker_end(maker *m) {
    if (!m->ctx) return;
    for (int f = 0; f < m->feed->fields; f++) nnl_runner_free(&m->runner[f]);
    nnl_context_release(m->ctx);
    m->ctx = NULL;
}

// Signals are the host's business: workers take none. What threads cannot be had, the caller does without.
static void start(nnl_feed *feed) {
    sigset_t all, before;
    feed->started = true;
    feed->process = getpid();
    feed->worker =
        feed->options.workers > 0 ? calloc((size_t)feed->options.workers, sizeof *feed->worker) : NULL;
    if (!feed->worker) return;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (; feed->workers < feed->options.workers; feed->workers++) {
        maker *m = &feed->worker[feed->workers];
        if (!maker_init(feed, m)) break;
        if (pthread_create(&m->thread, NULL, worker_main, m) == 0) continue;
        maker_end(m);
        break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static bool sync_init(nnl_feed *feed) {
    return pthread_mutex_init(&feed->mutex, NULL) == 0 && pthread_cond_init(&feed->room, NULL) == 0 &&
           pthread_cond_init(&feed->made, NULL) == 0;
}

static bool died_in_fork(const nnl_feed *feed) { return feed->started && feed->process != getpid(); }

// In the child of a fork the threads are gone, and nobody knows what they were at: their memory is given up,
// and the batches are made anew, with the same bits.
static void mourn(nnl_feed *feed) {
    (void)sync_init(feed);
    for (int i = 0; i < feed->window; i++) feed->ring[i] = (batch){.state = EMPTY};
    feed->claimed = feed->taken;
    feed->worker = NULL;
    feed->workers = 0;
    feed->started = false;
}

static void batch_free(batch *b) {
    for (int f = 0; f < NNL_MAX_FIELDS; f++) free(b->column[f].data);
    *b = (batch){.state = EMPTY};
}

static void stop(nnl_feed *feed) {
    if (died_in_fork(feed)) mourn(feed);
    pthread_mutex_lock(&feed->mutex);
    feed->stopping = true;
    pthread_cond_broadcast(&feed->room);
    pthread_mutex_unlock(&feed->mutex);
    for (int i = 0; i < feed->workers; i++) {
        pthread_join(feed->worker[i].thread, NULL);
        maker_end(&feed->worker[i]);
    }
    free(feed->worker);
    feed->worker = NULL;
    feed->workers = 0;
    for (int i = 0; i < feed->window; i++) batch_free(&feed->ring[i]);
    feed->taken = feed->claimed = feed->batches;
}

// ---- taking a batch

// Waits for the next batch, or makes it. With the mutex held.
static nnl_status await(nnl_feed *feed, batch *b) {
    while (b->state != READY) {
        if (feed->claimed == feed->taken) {
            make_claimed(&feed->own, claim(feed));
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_AROUND;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&feed->made, &feed->mutex, &until);
        if (b->state != READY && nnl_check_stop(feed->ctx, "batches") != NNL_OK) return feed->ctx->status;
    }
    return NNL_OK;
}

// Takes the next batch out of the ring.
static nnl_status take(nnl_feed *feed, batch *out) {
    pthread_mutex_lock(&feed->mutex);
    batch *b = &feed->ring[feed->taken % feed->window];
    nnl_status status = await(feed, b);
    if (status == NNL_OK) {
        *out = *b;
        *b = (batch){.state = EMPTY};
        feed->taken++;
        pthread_cond_signal(&feed->room);
    }
    pthread_mutex_unlock(&feed->mutex);
    return status;
}

// Memory of a batch, which counts among the context's.
typedef struct loan {
    nnl_context *ctx;
    size_t bytes;
    void *data;
} loan;

static void loan_end(void *owner) {
    loan *l = owner;
    nnl_allocator_discharge(&l->ctx->allocator, l->bytes);
    free(l->data);
    free(l);
}

// The tensor owns the column's memory, whatever happens.
static nnl_tensor *wrap(const nnl_feed *feed, column *c, int64_t samples) {
    nnl_context *ctx = feed->ctx;
    nnl_shape shape = c->shape;
    if (!feed->options.loose) {
        shape = (nnl_shape){c->shape.ndim + 1, {samples}};
        memcpy(shape.size + 1, c->shape.size, (size_t)c->shape.ndim * sizeof *shape.size);
    }
    loan *l = malloc(sizeof *l);
    size_t bytes = (size_t)feed->options.batch_size * c->bytes;
    if (!l || !nnl_allocator_charge(&ctx->allocator, bytes)) {
        free(l);
        return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: %zu bytes wanted for a batch, %zu in use",
                             bytes, ctx->allocator.stats.live);
    }
    *l = (loan){ctx, bytes, c->data};
    nnl_tensor *t = nnl_tensor_over(ctx, c->dtype, &shape, c->data, loan_end, l);
    if (t) {
        c->data = NULL;
    } else {
        nnl_allocator_discharge(&ctx->allocator, bytes);
        free(l);
    }
    return t;
}

static nnl_status give(nnl_feed *feed, batch *b, nnl_tensor **out) {
    nnl_status status = NNL_OK;
    for (int f = 0; f < feed->fields && status == NNL_OK; f++) {
        out[f] = wrap(feed, &b->column[f], b->samples);
        if (!out[f]) status = feed->ctx->status;
    }
    for (int f = 0; f < feed->fields && status != NNL_OK; f++) {
        nnl_tensor_release(out[f]);
        out[f] = NULL;
    }
    batch_free(b);
    return status;
}

static nnl_status fail_batch(nnl_feed *feed, batch *b) {
    nnl_status status = nnl_fail(feed->ctx, b->status, "nn.data.DataLoader: %.480s", b->error);
    batch_free(b);
    stop(feed);
    return status;
}

nnl_status nnl_feed_next(nnl_feed *feed, nnl_tensor **out, bool *more) {
    batch b;
    for (int f = 0; f < feed->fields; f++) out[f] = NULL;
    if (died_in_fork(feed)) mourn(feed);
    if (!feed->started) start(feed);
    do {
        *more = feed->taken < feed->batches;
        if (!*more) return NNL_OK;
        if (take(feed, &b) != NNL_OK) return feed->ctx->status;
        if (b.status != NNL_OK) return fail_batch(feed, &b);
        if (b.skipped > 0 && feed->skipped == 0) memcpy(feed->first, b.error, sizeof feed->first);
        feed->skipped += b.skipped;
        if (b.samples == 0) batch_free(&b);
    } while (b.samples == 0);
    return give(feed, &b, out);
}

int64_t nnl_feed_skipped(const nnl_feed *feed, const char **first) {
    *first = feed->first;
    return feed->skipped;
}

// ---- life

static nnl_status copy_field(nnl_feed *feed, const nnl_field *field) {
    int f = feed->fields++;
    feed->supply[f] = nnl_supply_retain(field->supply);
    feed->steps[f] = field->count;
    feed->step[f] = malloc((size_t)(field->count + 1) * sizeof *field->step);
    if (!feed->step[f]) return nnl_fail(feed->ctx, NNL_ERR_MEMORY, "out of memory: no room for steps");
    if (field->count > 0) memcpy(feed->step[f], field->step, (size_t)field->count * sizeof *field->step);
    return NNL_OK;
}

static void count_batches(nnl_feed *feed) {
    int64_t size = feed->options.batch_size, whole = feed->samples / size;
    if (!feed->options.drop_last && feed->samples % size > 0) whole++;
    feed->batches = whole > feed->options.skip ? whole - feed->options.skip : 0;
}

static nnl_status check_order(const nnl_feed *feed) {
    for (int64_t i = 0; i < feed->samples; i++) {
        for (int f = 0; f < feed->fields; f++) {
            if (feed->position[i] >= 1 && feed->position[i] <= feed->supply[f]->count) continue;
            return nnl_fail(feed->ctx, NNL_ERR_ARGUMENT, "there is no sample %lld: the data have %lld",
                            (long long)feed->position[i], (long long)feed->supply[f]->count);
        }
    }
    return NNL_OK;
}

nnl_feed *nnl_feed_new(nnl_context *ctx, const nnl_field *field, int fields, nnl_tensor *order,
                       const nnl_feed_options *options) {
    nnl_feed *feed = calloc(1, sizeof *feed);
    if (!feed) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a loader");
    feed->ctx = ctx;
    nnl_context_retain(ctx);
    feed->options = *options;
    if (feed->options.workers > MAX_WORKERS) feed->options.workers = MAX_WORKERS;
    feed->order = nnl_tensor_retain(order);
    feed->position = nnl_tensor_data(order);
    feed->samples = nnl_tensor_numel(order);
    count_batches(feed);
    int window = options->prefetch > feed->options.workers ? options->prefetch : feed->options.workers;
    feed->window = options->workers == 0 || window < 1 ? 1 : window;
    feed->ring = calloc((size_t)feed->window, sizeof *feed->ring);
    nnl_status status =
        feed->ring && sync_init(feed) ? NNL_OK : nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory");
    for (int f = 0; f < fields && status == NNL_OK; f++) status = copy_field(feed, &field[f]);
    if (status == NNL_OK) status = check_order(feed);
    if (status == NNL_OK && !maker_init(feed, &feed->own))
        status = nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory");
    if (status == NNL_OK) return feed;
    nnl_feed_free(feed);
    return NULL;
}

void nnl_feed_free(nnl_feed *feed) {
    if (!feed) return;
    if (feed->ring) {
        stop(feed);
        pthread_cond_destroy(&feed->room);
        pthread_cond_destroy(&feed->made);
        pthread_mutex_destroy(&feed->mutex);
    }
    maker_end(&feed->own);
    for (int f = 0; f < feed->fields; f++) {
        nnl_supply_release(feed->supply[f]);
        free(feed->step[f]);
    }
    nnl_tensor_release(feed->order);
    free(feed->ring);
    nnl_context *ctx = feed->ctx;
    free(feed);
    nnl_context_release(ctx);
}
