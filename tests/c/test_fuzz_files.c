// test_fuzz_files.c: thousands of damaged files for each reader of tests/fuzz/readers: each is read or
// refused with a message, in bounded memory, and nothing leaks. The changes are always the same ones, unless
// NNLUA_FUZZ_SECONDS says how long to go on with ever new ones; files given as arguments are then damaged too
// (scripts/dev/fuzz.sh readers).
#include "../fuzz/mutate.h"
#include "../fuzz/readers/readers.h"
#include "check.h"
#include "io/file.h"
#include "kernel/kernel.h"

#include <stdlib.h>
#include <time.h>

#define ROUNDS 50000
#define MEMORY ((size_t)64 << 20)

typedef struct fuzz_run {
    nnl_context *ctx;
    const fuzz_reader *reader;
    mutator changes;
    int good, bad;
} fuzz_run;

// In memory of just its size, so that a tool that watches memory sees a byte read beyond it.
static nnl_status read_exact(fuzz_run *run, const char *data, size_t size) {
    nnl_context *ctx = run->ctx;
    const char *name = run->reader->name;
    char *exact = malloc(size ? size : 1);
    if (!exact) return NNL_ERR_MEMORY;
    memcpy(exact, data, size);
    nnl_error_clear(ctx);
    size_t before = ctx->allocator.stats.peak = ctx->allocator.stats.live;
    nnl_status status = run->reader->read(ctx, exact, size);
    free(exact);
    size_t most = run->reader->memory ? run->reader->memory : MEMORY + 64 * size;
    CHECK_MESSAGE(status == NNL_OK || ctx->error[0], "%s: no message", name);
    CHECK_MESSAGE(ctx->allocator.stats.live == before, "%s: a leak", name);
    CHECK_MESSAGE(ctx->allocator.stats.peak - before < most, "%s: %zu bytes taken for %zu", name,
                  ctx->allocator.stats.peak - before, size);
    run->good += status == NNL_OK;
    run->bad += status != NNL_OK;
    return status;
}

static void check_whole(fuzz_run *run, const nnl_bytes *file) {
    CHECK_MESSAGE(read_exact(run, file->data, file->length) == NNL_OK, "%s: a good file: %s",
                  run->reader->name, run->ctx->error);
}

static void check_cut(fuzz_run *run, const nnl_bytes *file) {
    for (size_t size = 0; size < file->length; size++) {
        nnl_status status = read_exact(run, file->data, size);
        CHECK_MESSAGE(status != NNL_OK || !run->reader->ends, "%s: %zu of %zu bytes were taken for all",
                      run->reader->name, size, file->length);
    }
}

static void check_damaged(fuzz_run *run, const nnl_bytes *file, int rounds) {
    size_t capacity = file->length + 256;
    char *data = malloc(capacity);
    for (int i = 0; data && i < rounds; i++) {
        size_t size = mutate(&run->changes, file->data, file->length, data, capacity);
        if (run->reader->mend && i % 2) run->reader->mend(data, size);
        read_exact(run, data, size);
    }
    free(data);
}

// ---- always the same

static int count_variants(nnl_context *ctx, const fuzz_reader *reader) {
    nnl_bytes file = {.ctx = ctx};
    int count = 0;
    while (reader->make(ctx, count, &file)) {
        count++;
        file.length = 0;
    }
    nnl_bytes_free(&file);
    return count;
}

static void test_reader(nnl_context *ctx, const fuzz_reader *reader) {
    fuzz_run run = {.ctx = ctx, .reader = reader, .changes = {.state = 42, .words = reader->words}};
    int variants = count_variants(ctx, reader), rounds = reader->rounds ? reader->rounds : ROUNDS;
    char sentence[80];
    if (variants == 0) return;
    snprintf(sentence, sizeof sentence, "damaged %s is read or refused", reader->name);
    check_that(sentence);
    for (int variant = 0; variant < variants; variant++) {
        nnl_bytes file = {.ctx = ctx};
        if (!CHECK(reader->make(ctx, variant, &file))) return;
        check_whole(&run, &file);
        check_cut(&run, &file);
        check_damaged(&run, &file, rounds / variants);
        nnl_bytes_free(&file);
    }
    CHECK_MESSAGE(run.good > rounds / 200 && run.bad > rounds / 5, "%d read, %d refused", run.good, run.bad);
    check_close();
}

// ---- for as long as told

static bool is_for(const fuzz_reader *reader, const char *path) {
    const char *dot = strrchr(path, '.');
    const char *found = dot && reader->suffix ? strstr(reader->suffix, dot) : NULL;
    return found && (found[strlen(dot)] == ' ' || found[strlen(dot)] == '\0');
}

// The file on which a crash happens can be made again from what is told here.
static void tell(const char *journal, const fuzz_reader *reader, uint64_t seed, const char *what) {
    FILE *file = journal ? fopen(journal, "w") : NULL;
    if (!file) return;
    fprintf(file, "%s %s seed %llu\n", reader->name, what, (unsigned long long)seed);
    fclose(file);
}

static void fuzz_file(fuzz_run *run, const nnl_bytes *file, uint64_t seed, const char *what) {
    tell(getenv("NNLUA_FUZZ_JOURNAL"), run->reader, seed, what);
    run->changes = (mutator){.state = seed, .words = run->reader->words};
    check_damaged(run, file, 200);
}

static void fuzz_reader_once(fuzz_run *run, uint64_t seed, int paths, char **path) {
    nnl_bytes file = {.ctx = run->ctx};
    char what[32];
    for (int variant = 0; run->reader->make(run->ctx, variant, &file); variant++) {
        snprintf(what, sizeof what, "file %d", variant);
        fuzz_file(run, &file, seed, what);
        file.length = 0;
    }
    for (int i = 0; i < paths; i++) {
        file.length = 0;
        if (!is_for(run->reader, path[i]) || nnl_file_read(run->ctx, path[i], &file) != NNL_OK) continue;
        fuzz_file(run, &file, seed, path[i]);
    }
    nnl_bytes_free(&file);
}

static void fuzz_for(nnl_context *ctx, const fuzz_reader *const *lists, size_t count, double seconds,
                     int paths, char **path) {
    const char *given = getenv("NNLUA_FUZZ_SEED");
    time_t start = time(NULL);
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)start * 1000 + 1;
    long long good = 0, bad = 0;
    check_that("whatever damage is done, files are read or refused");
    for (; difftime(time(NULL), start) < seconds && check_now.failures_here == 0; seed++) {
        for (size_t i = 0; i < count; i++) {
            for (const fuzz_reader *reader = lists[i]; reader->name; reader++) {
                fuzz_run run = {.ctx = ctx, .reader = reader};
                fuzz_reader_once(&run, seed, paths, path);
                good += run.good;
                bad += run.bad;
            }
        }
    }
    printf("%lld files read, %lld refused; the last seed was %llu\n", good, bad,
           (unsigned long long)seed - 1);
}

int main(int arguments, char **argument) {
    nnl_context *ctx = nnl_context_new();
    if (!ctx) return 1;
    ctx->kernels = nnl_kernels_best();
    const fuzz_reader *const lists[] = {FUZZ_READERS};
    size_t count = sizeof lists / sizeof lists[0];
    const char *seconds = getenv("NNLUA_FUZZ_SECONDS");
    if (seconds) {
        fuzz_for(ctx, lists, count, atof(seconds), arguments - 1, argument + 1);
    } else {
        for (size_t i = 0; i < count; i++) {
            for (const fuzz_reader *reader = lists[i]; reader->name; reader++) test_reader(ctx, reader);
        }
    }
    nnl_context_release(ctx);
    return check_end();
}
