// test_base.c: the allocator, the random numbers, the thread pool and the context.
#define _GNU_SOURCE 1
#include "base/context.h"
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

// Memory.

static void test_blocks(void) {
    check_that(
        "every block is aligned, writable to its end, and no larger than a quarter above what was asked");
    nnl_allocator allocator;
    nnl_allocator_init(&allocator);
    for (size_t bytes = 0; bytes < 5000000; bytes = bytes * 5 / 4 + 1) {
        size_t live = allocator.stats.live;
        unsigned char *memory = nnl_alloc(&allocator, bytes);
        if (!CHECK(memory != NULL)) return;
        size_t taken = allocator.stats.live - live;
        CHECK((uintptr_t)memory % NNL_ALIGNMENT == 0);
        CHECK(taken >= bytes && taken <= bytes + bytes / 4 + NNL_ALIGNMENT);
        memset(memory, 1, bytes);
        nnl_free(&allocator, memory);
    }
    CHECK_INT(allocator.stats.live, 0);
    nnl_allocator_trim(&allocator);
    CHECK_INT(allocator.stats.cached, 0);
    nnl_free(&allocator, NULL);
}

static void take_and_free(nnl_allocator *allocator, const size_t *sizes, size_t count) {
    void *blocks[16];
    for (size_t i = 0; i < count; i++) blocks[i] = nnl_alloc(allocator, sizes[i]);
    for (size_t i = 0; i < count; i++) nnl_free(allocator, blocks[i]);
}

static void test_steady_state(void) {
    check_that("work that repeats makes no system call for memory after its first round");
    const size_t sizes[] = {0, 1, 64, 65, 4000, 4001, 100000, 3000000, 3000001, 20000000};
    nnl_allocator allocator;
    nnl_allocator_init(&allocator);
    take_and_free(&allocator, sizes, COUNT(sizes));
    uint64_t before = allocator.stats.system;
    for (int i = 0; i < 100; i++) take_and_free(&allocator, sizes, COUNT(sizes));
    CHECK_INT(allocator.stats.system, before);
    CHECK_INT(allocator.stats.requests, 101 * COUNT(sizes));
    nnl_allocator_trim(&allocator);
    CHECK_INT(allocator.stats.system, 2 * COUNT(sizes));
}

static void test_reuse_order(void) {
    check_that("the block freed last is handed out first");
    nnl_allocator allocator;
    nnl_allocator_init(&allocator);
    void *a = nnl_alloc(&allocator, 1000);
    void *b = nnl_alloc(&allocator, 1000);
    nnl_free(&allocator, b);
    nnl_free(&allocator, a);
    CHECK(nnl_alloc(&allocator, 1001) == a);
    CHECK(nnl_alloc(&allocator, 999) == b);
    nnl_free(&allocator, a);
    nnl_free(&allocator, b);
    nnl_allocator_trim(&allocator);
}

static void test_limit(void) {
    check_that("over the limit the cache is given up first, and then allocation fails");
    nnl_allocator allocator;
    nnl_allocator_init(&allocator);
    allocator.limit = 1 << 20;
    void *half = nnl_alloc(&allocator, 512 << 10);
    nnl_free(&allocator, half);
    void *most = nnl_alloc(&allocator, 768 << 10);
    CHECK(most != NULL);
    CHECK_INT(allocator.stats.cached, 0);
    CHECK(nnl_alloc(&allocator, 512 << 10) == NULL);
    CHECK_INT(allocator.stats.live, 768 << 10);
    nnl_free(&allocator, most);
    nnl_allocator_trim(&allocator);
}

typedef struct hoarder {
    nnl_allocator *allocator;
    void *hoard;
    int asked;
} hoarder;

static void hoarder_gives(void *host) {
    hoarder *self = host;
    self->asked++;
    nnl_free(self->allocator, self->hoard);
    self->hoard = NULL;
}

static void test_exhaustion(void) {
    check_that("the host is asked once to free memory before an allocation fails");
    nnl_allocator allocator;
    nnl_allocator_init(&allocator);
    hoarder host = {&allocator, nnl_alloc(&allocator, 1 << 20), 0};
    allocator.limit = 1 << 20;
    allocator.on_exhausted = hoarder_gives;
    allocator.host = &host;
    void *memory = nnl_alloc(&allocator, 1 << 19);
    CHECK(memory != NULL);
    CHECK_INT(host.asked, 1);
    CHECK(nnl_alloc(&allocator, 1 << 20) == NULL);
    CHECK_INT(host.asked, 2);
    CHECK(nnl_alloc(&allocator, SIZE_MAX) == NULL);
    CHECK(nnl_alloc(&allocator, SIZE_MAX / 4) == NULL);
    nnl_free(&allocator, memory);
    nnl_allocator_trim(&allocator);
}

static void test_cache_bound(void) {
    check_that("the cache stays below the peak, and a new kind of work pushes out the old");
    nnl_allocator allocator;
    nnl_allocator_init(&allocator);
    size_t size = (size_t)96 << 20;
    nnl_free(&allocator, nnl_alloc(&allocator, size));
    for (int i = 0; i < 8; i++) {
        nnl_free(&allocator, nnl_alloc(&allocator, size - ((size_t)i << 23)));
        CHECK(allocator.stats.cached <= allocator.stats.peak);
    }
    uint64_t before = allocator.stats.system;
    nnl_free(&allocator, nnl_alloc(&allocator, size - ((size_t)7 << 23)));
    CHECK_INT(allocator.stats.system, before);
    nnl_allocator_trim(&allocator);
}

static int take_ten(nnl_allocator *allocator) {
    void *blocks[10] = {NULL};
    int taken = 0;
    while (taken < 10 && (blocks[taken] = nnl_alloc(allocator, (size_t)taken * 100)) != NULL) taken++;
    for (int i = 0; i < taken; i++) nnl_free(allocator, blocks[i]);
    return taken;
}

static void test_failure_sweep(void) {
    check_that("fail_after makes just the allocation of that number fail, and the next one works");
    nnl_allocator allocator;
    nnl_allocator_init(&allocator);
    for (int k = 0; k < 10; k++) {
        allocator.fail_after = k;
        int taken = take_ten(&allocator);
        CHECK_INT(taken, k);
        CHECK_INT(allocator.stats.live, 0);
        taken = take_ten(&allocator);
        CHECK_INT(taken, 10);
    }
    nnl_allocator_trim(&allocator);
}

static void test_reports(void) {
    check_that(
        "what is handed out adds up for the host until it resets the sum, a quarter of it for small blocks");
    nnl_allocator allocator;
    nnl_allocator_init(&allocator);
    for (int i = 0; i < 3; i++) nnl_free(&allocator, nnl_alloc(&allocator, 2048));
    CHECK_INT(allocator.since_report, 3 * 2048);
    CHECK_INT(allocator.stats.peak, 2048);
    allocator.since_report = 0;
    for (int i = 0; i < 3; i++) nnl_free(&allocator, nnl_alloc(&allocator, 128));
    CHECK_INT(allocator.since_report, 3 * 128 / 4);
    nnl_allocator_trim(&allocator);
}

// Random numbers.

static void check_philox(const uint32_t counter[4], const uint32_t key[2], const uint32_t expected[4]) {
    uint32_t words[4];
    nnl_philox(counter, key, words);
    for (int i = 0; i < 4; i++) CHECK_INT(words[i], expected[i]);
}

static void test_philox(void) {
    check_that("Philox gives the words its authors publish");
    check_philox((uint32_t[]){0, 0, 0, 0}, (uint32_t[]){0, 0},
                 (uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    check_philox((uint32_t[]){~0u, ~0u, ~0u, ~0u}, (uint32_t[]){~0u, ~0u},
                 (uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    check_philox((uint32_t[]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                 (uint32_t[]){0xa4093822, 0x299f31d0},
                 (uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

static void test_random_scalars(void) {
    check_that("scalar draws follow the seed, stay in range and are fair");
    nnl_random random, again;
    nnl_random_seed(&random, 42);
    nnl_random_seed(&again, 42);
    int counts[5] = {0};
    double sum = 0;
    for (int i = 0; i < 10000; i++) {
        CHECK(nnl_random_word(&random) == nnl_random_word(&again));
        double x = nnl_random_double(&random);
        CHECK(x == nnl_random_double(&again));
        CHECK(x >= 0 && x < 1);
        sum += x;
        counts[nnl_random_below(&random, 5)]++;
        nnl_random_below(&again, 5);
    }
    CHECK_NEAR(sum / 10000, 0.5, 0.02);
    for (int i = 0; i < 5; i++) CHECK(counts[i] > 1800 && counts[i] < 2200);
    CHECK_INT(nnl_random_below(&random, 1), 0);
    CHECK_INT(nnl_random_below(&random, 0), 0);
}

static void test_random_reserve(void) {
    check_that("reserving words moves on by whole blocks");
    nnl_random random;
    nnl_random_seed(&random, 1);
    const size_t counts[] = {5, 0, 4, 1};
    const uint64_t begins[] = {0, 2, 2, 3};
    for (size_t i = 0; i < COUNT(counts); i++) {
        uint64_t begin = nnl_random_reserve(&random, counts[i]);
        CHECK_INT(begin, begins[i]);
    }
}

// Threads.

typedef struct tally {
    nnl_pool *pool;
    _Atomic int runs[64];
    _Atomic int nested;
} tally;

static void count_part(void *arg, size_t part) { atomic_fetch_add(&((tally *)arg)->runs[part % 64], 1); }

static bool runs_each_once(nnl_pool *pool, size_t parts) {
    tally work = {.pool = pool};
    nnl_pool_run(pool, parts, count_part, &work);
    for (size_t i = 0; i < parts; i++)
        if (work.runs[i] != 1) return false;
    return true;
}

static void test_parts(void) {
    check_that("every part of a job runs once, for any number of threads, job after job");
    for (int threads = 1; threads <= 5; threads++) {
        nnl_pool *pool = nnl_pool_new(threads);
        CHECK_INT(nnl_pool_threads(pool), threads);
        for (size_t i = 0; i < 3000; i++) CHECK(runs_each_once(pool, i % 65));
        nnl_pool_free(pool);
    }
    CHECK(runs_each_once(NULL, 3));
}

static void test_set_threads(void) {
    check_that("the number of threads may change between jobs and is never below 1");
    nnl_pool *pool = nnl_pool_new(0);
    CHECK_INT(nnl_pool_threads(pool), 1);
    for (int threads = 1; threads < 20; threads++) {
        nnl_pool_set_threads(pool, threads % 4);
        CHECK(runs_each_once(pool, 33));
    }
    nnl_pool_free(pool);
    nnl_pool_free(NULL);
    CHECK(nnl_processors() >= 1);
}

static void count_nested(void *arg, size_t part) {
    (void)part;
    tally *work = arg;
    pthread_t self = pthread_self();
    tally inner = {.pool = work->pool};
    nnl_pool_run(work->pool, 10, count_part, &inner);
    int sum = 0;
    for (int i = 0; i < 10; i++) sum += inner.runs[i];
    if (pthread_equal(self, pthread_self())) atomic_fetch_add(&work->nested, sum);
}

static void test_nested(void) {
    check_that("a job inside a task runs on the task's own thread");
    nnl_pool *pool = nnl_pool_new(3);
    tally work = {.pool = pool};
    nnl_pool_run(pool, 20, count_nested, &work);
    CHECK_INT(work.nested, 200);
    nnl_pool_free(pool);
}

static void sleep_a_little(void *arg, size_t part) {
    usleep(part == 0 ? 1000 : 3000);
    count_part(arg, part);
}

static void test_sleepers(void) {
    check_that("workers and caller that went to sleep are woken");
    nnl_pool *pool = nnl_pool_new(3);
    for (int i = 0; i < 20; i++) {
        tally work = {.pool = pool};
        nnl_pool_run(pool, 4, sleep_a_little, &work);
        for (int j = 0; j < 4; j++) CHECK_INT(work.runs[j], 1);
        usleep(2000);
    }
    nnl_pool_free(pool);
}

static void test_fork(void) {
    check_that("after a fork the child starts its own workers, and the parent keeps its own");
    nnl_pool *pool = nnl_pool_new(3);
    CHECK(runs_each_once(pool, 40));
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        bool ok = runs_each_once(pool, 40) && runs_each_once(pool, 64);
        nnl_pool_free(pool);
        _exit(ok ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(runs_each_once(pool, 40));
    nnl_pool_free(pool);
}

static void test_fork_frees(void) {
    check_that("the child of a fork may free a pool whose workers it never had");
    nnl_pool *pool = nnl_pool_new(2);
    CHECK(runs_each_once(pool, 10));
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        nnl_pool_free(pool);
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    nnl_pool_free(pool);
}

static void block_usr1_seen(void *arg, size_t part) {
    (void)part;
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    usleep(500);
    if (sigismember(&set, SIGUSR1) == 1) atomic_fetch_add(&((tally *)arg)->nested, 1);
}

static void test_signals(void) {
    check_that("workers block all signals and the caller's mask stays as it was");
    nnl_pool *pool = nnl_pool_new(2);
    tally work = {.pool = pool};
    nnl_pool_run(pool, 64, block_usr1_seen, &work);
    CHECK(work.nested > 0);
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    CHECK_INT(sigismember(&set, SIGUSR1), 0);
    nnl_pool_free(pool);
}

// The context.

static void test_context(void) {
    check_that("a context lives until its last reference goes, and keeps the text of the last failure");
    nnl_context *ctx = nnl_context_new();
    if (!CHECK(ctx != NULL)) return;
    CHECK(ctx->grad_enabled && ctx->kernels == NULL && ctx->status == NNL_OK);
    nnl_context_retain(ctx);
    nnl_context_release(ctx);
    CHECK_INT(nnl_fail(ctx, NNL_ERR_SHAPE, "%d is not %d", 1, 2), NNL_ERR_SHAPE);
    CHECK(strcmp(ctx->error, "1 is not 2") == 0);
    CHECK(nnl_fail_null(ctx, NNL_ERR_STATE, "%0600d", 1) == NULL);
    CHECK_INT(strlen(ctx->error), NNL_ERROR_SIZE - 1);
    CHECK_INT(ctx->status, NNL_ERR_STATE);
    nnl_error_clear(ctx);
    CHECK(ctx->status == NNL_OK && ctx->error[0] == '\0');
    nnl_free(&ctx->allocator, nnl_alloc(&ctx->allocator, 100));
    nnl_context_release(ctx);
    nnl_context_release(NULL);
}

int main(void) {
    test_blocks();
    test_steady_state();
    test_reuse_order();
    test_limit();
    test_exhaustion();
    test_cache_bound();
    test_failure_sweep();
    test_reports();
    test_philox();
    test_random_scalars();
    test_random_reserve();
    test_parts();
    test_set_threads();
    test_nested();
    test_sleepers();
    test_fork();
    test_fork_frees();
    test_signals();
    test_context();
    return check_end();
}
