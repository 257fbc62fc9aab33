// thread.c: the pool. One word, the ticket, holds the number of the job and how many parts were taken from
// either end, so that a worker that wakes late can never take a part of a job that is over. The caller takes
// parts from the front, workers from the back: where the same memory is gone through again, each finds its
// own half in its cache.
#define _GNU_SOURCE 1
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_THREADS 1024
#define END_BITS 18 // for the parts taken from one end; the job's number has the rest
#define MAX_PARTS (((uint32_t)1 << END_BITS) - 1)
#define MAX_JOB (((uint32_t)1 << (64 - 2 * END_BITS)) - 1)

// How often to look for news before going to sleep: some tens of microseconds.
#define SPINS 2000

#define ROOM_ALIGNMENT ((size_t)4096)

typedef struct room {
    void *memory;
    size_t bytes;
} room;

struct nnl_pool {
    room *rooms; // two for each thread: its own, and for the jobs that it begins; the caller has the first
    int threads; // the caller and its workers
    int started; // workers that run
    bool tried;  // to start them
    bool busy;   // a job runs: who asks for another is inside a task
    int spins;
    bool (*stop)(void *host);
    void *host;
    pid_t process; // that started the workers
    pthread_t *workers;

    // The job. A worker trusts what it read of these only if it then took a part of the same job.
    _Atomic(nnl_task *) task;
    _Atomic(void *) arg;
    _Atomic uint32_t parts;
    _Atomic uint64_t ticket; // the job's number, the parts taken from the back, and from the front
    _Atomic uint32_t left;   // parts not yet done

    pthread_mutex_t mutex;
    pthread_cond_t news;     // a job, or the end
    pthread_cond_t finished; // left is 0
    _Atomic int sleepers;    // workers waiting for news
    _Atomic bool caller_sleeps;
    _Atomic bool stopping;
    _Atomic int numbers; // workers that have theirs
};

static _Thread_local int worker; // its number, from 1; 0 in threads of the host's

bool nnl_in_worker(void) { return worker > 0; }

#define FROM_FRONT ((uint64_t)1)
#define FROM_BACK ((uint64_t)1 << END_BITS)

// Nothing taken yet, or, closed, everything.
static uint64_t ticket_of(uint32_t job, bool closed) {
    return (uint64_t)job << (2 * END_BITS) | (closed ? MAX_PARTS : 0);
}

static uint32_t ticket_job(uint64_t ticket) { return (uint32_t)(ticket >> (2 * END_BITS)); }
static uint32_t ticket_front(uint64_t ticket) { return (uint32_t)ticket & MAX_PARTS; }
static uint32_t ticket_back(uint64_t ticket) { return (uint32_t)(ticket >> END_BITS) & MAX_PARTS; }

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

int nnl_processors(void) {
#ifdef CPU_COUNT
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (int)count : 1;
}

static bool sync_init(nnl_pool *pool) {
    atomic_store(&pool->sleepers, 0);
    atomic_store(&pool->caller_sleeps, false);
    if (pthread_mutex_init(&pool->mutex, NULL) != 0) return false;
    return pthread_cond_init(&pool->news, NULL) == 0 && pthread_cond_init(&pool->finished, NULL) == 0;
}

static int threads_in_range(int threads) {
    if (threads < 1) return 1;
    return threads > MAX_THREADS ? MAX_THREADS : threads;
}

nnl_pool *nnl_pool_new(int threads) {
    nnl_pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    if (!sync_init(pool)) {
        free(pool);
        return NULL;
    }
    pool->rooms = calloc(2 * (size_t)threads_in_range(threads), sizeof *pool->rooms);
    pool->threads = threads_in_range(threads);
    return pool;
}

// Each thread touches its own only; the caller makes the list before others can ask.
static void rooms_free(nnl_pool *pool) {
    for (int i = 0; pool->rooms && i < 2 * pool->threads; i++) free(pool->rooms[i].memory);
    free(pool->rooms);
    pool->rooms = NULL;
}

static void *room_of(nnl_pool *pool, bool common, size_t bytes) {
    if (!pool || !pool->rooms || worker >= pool->threads) return NULL;
    room *r = &pool->rooms[2 * worker + common];
    if (r->bytes >= bytes) return r->memory;
    free(r->memory);
    size_t whole = (bytes + ROOM_ALIGNMENT - 1) / ROOM_ALIGNMENT * ROOM_ALIGNMENT;
    r->memory = aligned_alloc(ROOM_ALIGNMENT, whole);
    r->bytes = r->memory ? whole : 0;
    return r->memory;
}

void *nnl_pool_room(nnl_pool *pool, size_t bytes) { return room_of(pool, false, bytes); }

void *nnl_pool_common_room(nnl_pool *pool, size_t bytes) { return room_of(pool, true, bytes); }

int nnl_pool_threads(const nnl_pool *pool) { return pool->threads; }

void nnl_pool_set_stop(nnl_pool *pool, bool (*stop)(void *host), void *host) {
    pool->stop = stop;
    pool->host = host;
}

bool nnl_pool_stops(const nnl_pool *pool) { return pool && pool->stop && pool->stop(pool->host); }

// Take the next part of `job` from one end; false when there is none.
static bool part_take(nnl_pool *pool, uint32_t job, uint32_t parts, uint64_t end, uint32_t *part) {
    uint64_t ticket = atomic_load(&pool->ticket);
    do {
        if (ticket_job(ticket) != job || ticket_front(ticket) + ticket_back(ticket) >= parts) return false;
    } while (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + end));
    *part = end == FROM_FRONT ? ticket_front(ticket) : parts - 1 - ticket_back(ticket);
    return true;
}

static void part_done(nnl_pool *pool) {
    if (atomic_fetch_sub(&pool->left, 1) != 1 || !atomic_load(&pool->caller_sleeps)) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->finished);
    pthread_mutex_unlock(&pool->mutex);
}

static void job_work(nnl_pool *pool, uint32_t job, uint64_t end) {
    nnl_task *task = atomic_load(&pool->task);
    void *arg = atomic_load(&pool->arg);
    uint32_t parts = atomic_load(&pool->parts);
    uint32_t part;
    while (part_take(pool, job, parts, end, &part)) {
        task(arg, part);
        part_done(pool);
    }
}

static bool is_news(nnl_pool *pool, uint32_t seen) {
    return ticket_job(atomic_load(&pool->ticket)) != seen || atomic_load(&pool->stopping);
}

static void sleep_until_news(nnl_pool *pool, uint32_t seen) {
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!is_news(pool, seen)) pthread_cond_wait(&pool->news, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void wait_for_news(nnl_pool *pool, uint32_t seen) {
    for (int i = 0; i < pool->spins; i++) {
        if (is_news(pool, seen)) return;
        relax();
    }
    sleep_until_news(pool, seen);
}

static void *worker_main(void *arg) {
    nnl_pool *pool = arg;
    worker = atomic_fetch_add(&pool->numbers, 1) + 1;
    uint32_t seen = 0;
    while (!atomic_load(&pool->stopping)) {
        uint32_t job = ticket_job(atomic_load(&pool->ticket));
        if (job != seen) job_work(pool, job, FROM_BACK);
        seen = job;
        wait_for_news(pool, seen);
    }
    return NULL;
}

// Signals are the host's business: workers take none.
static void workers_create(nnl_pool *pool, int count) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    while (pool->started < count) {
        if (pthread_create(&pool->workers[pool->started], NULL, worker_main, pool) != 0) break;
        pool->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void workers_start(nnl_pool *pool) {
    pool->tried = true;
    atomic_store(&pool->numbers, 0);
    pool->process = getpid();
    pool->spins = pool->threads <= nnl_processors() ? SPINS : 0;
    pool->workers = malloc((size_t)pool->threads * sizeof *pool->workers);
    if (pool->workers) workers_create(pool, pool->threads - 1);
}

static void workers_forget(nnl_pool *pool) {
    free(pool->workers);
    pool->workers = NULL;
    pool->started = 0;
    pool->tried = false;
}

static bool workers_died_in_fork(const nnl_pool *pool) { return pool->tried && pool->process != getpid(); }

// In the child of a fork there are no workers, and one may have held the mutex when it vanished.
static void workers_mourn(nnl_pool *pool) {
    workers_forget(pool);
    (void)sync_init(pool);
}

static void workers_stop(nnl_pool *pool) {
    if (workers_died_in_fork(pool)) workers_mourn(pool);
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stopping, true);
    pthread_cond_broadcast(&pool->news);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->started; i++) pthread_join(pool->workers[i], NULL);
    atomic_store(&pool->stopping, false);
    workers_forget(pool);
}

void nnl_pool_set_threads(nnl_pool *pool, int threads) {
    if (pool->busy) return;
    workers_stop(pool);
    rooms_free(pool);
    pool->threads = threads_in_range(threads);
    pool->rooms = calloc(2 * (size_t)pool->threads, sizeof *pool->rooms);
}

void nnl_pool_free(nnl_pool *pool) {
    if (!pool) return;
    workers_stop(pool);
    rooms_free(pool);
    pthread_cond_destroy(&pool->news);
    pthread_cond_destroy(&pool->finished);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

static void wake_workers(nnl_pool *pool, uint32_t wanted) {
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    for (uint32_t i = 0; i < wanted && i < (uint32_t)pool->started; i++) pthread_cond_signal(&pool->news);
    pthread_mutex_unlock(&pool->mutex);
}

// The last job is closed before its task is replaced: else a latecomer could take the new task under the old
// number.
static uint32_t job_publish(nnl_pool *pool, uint32_t parts, nnl_task *task, void *arg) {
    uint32_t last = ticket_job(atomic_load(&pool->ticket));
    uint32_t job = last == MAX_JOB ? 1 : last + 1; // 0 is what a new worker has seen
    atomic_store(&pool->ticket, ticket_of(last, true));
    atomic_store(&pool->task, task);
    atomic_store(&pool->arg, arg);
    atomic_store(&pool->parts, parts);
    atomic_store(&pool->left, parts);
    atomic_store(&pool->ticket, ticket_of(job, false));
    wake_workers(pool, parts - 1);
    return job;
}

static void wait_until_done(nnl_pool *pool) {
    for (int i = 0; i < pool->spins; i++) {
        if (atomic_load(&pool->left) == 0) return;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->left) != 0) pthread_cond_wait(&pool->finished, &pool->mutex);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
}

static bool workers_ready(nnl_pool *pool) {
    if (!pool || pool->threads == 1 || pool->busy) return false;
    if (workers_died_in_fork(pool)) workers_mourn(pool);
    if (!pool->tried) workers_start(pool);
    return pool->started > 0;
}

void nnl_pool_run(nnl_pool *pool, size_t parts, nnl_task *task, void *arg) {
    if (parts < 2 || parts > MAX_PARTS || !workers_ready(pool)) {
        for (size_t part = 0; part < parts; part++) task(arg, part);
        return;
    }
    pool->busy = true;
    uint32_t job = job_publish(pool, (uint32_t)parts, task, arg);
    job_work(pool, job, FROM_FRONT);
    wait_until_done(pool);
    pool->busy = false;
}

typedef struct trial {
    const nnl_pool *pool;
    nnl_task *task;
    void *arg;
} trial;

static void try_part(void *arg, size_t part) {
    const trial *t = arg;
    if (!nnl_pool_stops(t->pool)) t->task(t->arg, part);
}

void nnl_pool_try(nnl_pool *pool, size_t parts, nnl_task *task, void *arg) {
    trial t = {pool, task, arg};
    if (parts < 2) {
        nnl_pool_run(pool, parts, task, arg);
    } else {
        nnl_pool_run(pool, parts, try_part, &t);
    }
}
