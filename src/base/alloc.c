// alloc.c: blocks of a size class, each behind a header of one cache line. Freed blocks wait in a list for
// their class, the last one in first out, while it is still in the processor's cache. See alloc.h for the
// contract.
#define _GNU_SOURCE 1
#include "base/alloc.h"
#include "base/trial.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define CACHE_FLOOR ((size_t)64 << 20)

#define EXPECTED_LINES 3

// Of small blocks many fit into the cache: they urge the collector less.
#define SMALL ((size_t)1024)
#define SMALL_SHARE 4

// Four classes to a doubling: at most a fifth of a block is waste.
#define CLASSES_PER_DOUBLING 4

struct nnl_block {
    nnl_block *next;   // in the free list
    nnl_block *before; // taken before this one: only ever prefetched, it may be gone
    size_t bin, bytes; // its class, and what that holds
    size_t counted;    // bytes that it counts as live
    unsigned char padding[NNL_ALIGNMENT - 2 * sizeof(nnl_block *) - 3 * sizeof(size_t)];
};

_Static_assert(sizeof(nnl_block) == NNL_ALIGNMENT, "the memory after a header is aligned as the header is");

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NNL_ADDRESS_SANITIZER 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define NNL_ADDRESS_SANITIZER 1
#endif

#ifdef NNL_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
static void poison(void *memory, size_t bytes) { __asan_poison_memory_region(memory, bytes); }
static void unpoison(void *memory, size_t bytes) { __asan_unpoison_memory_region(memory, bytes); }
#else
static void poison(void *memory, size_t bytes) { (void)memory, (void)bytes; }
static void unpoison(void *memory, size_t bytes) { (void)memory, (void)bytes; }
#endif

// Classes 0 to 3 hold 1 to 4 cache lines; then 5, 6, 7, 8; 10, 12, 14, 16; and so on.
static size_t bin_bytes(size_t bin) {
    size_t doubling = bin / CLASSES_PER_DOUBLING;
    size_t quarter = bin % CLASSES_PER_DOUBLING + 1;
    if (doubling == 0) return quarter * NNL_ALIGNMENT;
    return (CLASSES_PER_DOUBLING + quarter) * NNL_ALIGNMENT << (doubling - 1);
}

static size_t bin_of(size_t bytes) {
    size_t last_line = bytes > 0 ? (bytes - 1) / NNL_ALIGNMENT : 0;
    if (last_line < CLASSES_PER_DOUBLING) return last_line;
    size_t top_bit = 63 - (size_t)__builtin_clzll(last_line);
    size_t doubling = top_bit - 1;
    size_t quarter = (last_line >> (top_bit - 2)) & 3;
    return doubling * CLASSES_PER_DOUBLING + quarter;
}

static nnl_block *block_of(void *memory) { return (nnl_block *)memory - 1; }

void nnl_allocator_init(nnl_allocator *allocator) {
    memset(allocator, 0, sizeof *allocator);
    allocator->fail_after = -1;
}

static nnl_block *system_take(nnl_allocator *allocator, size_t bin) {
    size_t bytes = sizeof(nnl_block) + bin_bytes(bin);
    bool large = bin_bytes(bin) >= HUGE_PAGE;
    void *memory = NULL;
    allocator->stats.system++;
    if (posix_memalign(&memory, large ? HUGE_PAGE : NNL_ALIGNMENT, bytes) != 0) return NULL;
#ifdef MADV_HUGEPAGE
    if (large) (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    nnl_block *block = memory;
    block->bin = bin;
    block->bytes = bin_bytes(bin);
    block->before = NULL;
    poison(block + 1, block->bytes);
    return block;
}

static void system_give(nnl_allocator *allocator, nnl_block *block) {
    unpoison(block + 1, block->bytes);
    allocator->stats.system++;
    free(block);
}

static inline nnl_block *cache_take(nnl_allocator *allocator, size_t bin) {
    nnl_block *block = allocator->free_list[bin];
    if (!block) return NULL;
    allocator->free_list[bin] = block->next;
    __builtin_prefetch(block->next, 1); // for the next time
    allocator->stats.cached -= block->bytes;
    allocator->cached[bin] -= block->bytes;
    return block;
}

static inline void cache_give(nnl_allocator *allocator, nnl_block *block) {
    poison(block + 1, block->bytes);
    block->next = allocator->free_list[block->bin];
    allocator->free_list[block->bin] = block;
    allocator->stats.cached += block->bytes;
    allocator->cached[block->bin] += block->bytes;
}

static void trim_bin(nnl_allocator *allocator, size_t bin) {
    for (nnl_block *block; (block = cache_take(allocator, bin)) != NULL;) system_give(allocator, block);
}

void nnl_allocator_trim(nnl_allocator *allocator) {
    for (size_t bin = 0; bin < NNL_SIZE_CLASSES; bin++) trim_bin(allocator, bin);
}

static bool over_limit(const nnl_allocator *allocator, size_t bytes) {
    const nnl_memory_stats *stats = &allocator->stats;
    return allocator->limit > 0 && stats->live + stats->cached + bytes > allocator->limit;
}

// A new block, if need be in place of everything cached.
static __attribute__((noinline)) nnl_block *block_new(nnl_allocator *allocator, size_t bin) {
    if (over_limit(allocator, bin_bytes(bin))) nnl_allocator_trim(allocator);
    if (over_limit(allocator, bin_bytes(bin))) return NULL;
    nnl_block *block = system_take(allocator, bin);
    if (block || allocator->stats.cached == 0) return block;
    nnl_allocator_trim(allocator);
    return system_take(allocator, bin);
}

static nnl_block *block_get(nnl_allocator *allocator, size_t bin) {
    nnl_block *block = cache_take(allocator, bin);
    return block ? block : block_new(allocator, bin);
}

void nnl_allocator_reset_peak(nnl_allocator *allocator) { allocator->stats.peak = allocator->stats.live; }

// The host may free memory and even take some while it is asked, but it is not asked again meanwhile.
static void ask_host(nnl_allocator *allocator) {
    void (*on_exhausted)(void *) = allocator->on_exhausted;
    if (!on_exhausted) return;
    allocator->on_exhausted = NULL;
    on_exhausted(allocator->host);
    allocator->on_exhausted = on_exhausted;
}

static bool told_to_fail(nnl_allocator *allocator) {
    return allocator->fail_after >= 0 && allocator->fail_after-- == 0;
}

static void count_live(nnl_allocator *allocator, size_t bytes) {
    nnl_memory_stats *stats = &allocator->stats;
    stats->live += bytes;
    if (stats->live > stats->peak) stats->peak = stats->live;
    if (stats->peak > allocator->highest) allocator->highest = stats->peak;
    allocator->since_report += bytes <= SMALL ? bytes / SMALL_SHARE : bytes;
}

size_t nnl_alloc_counted(size_t bytes) {
    size_t bin = bin_of(bytes);
    return bin < NNL_SIZE_CLASSES ? bin_bytes(bin) : bytes;
}

static size_t planned_size(nnl_allocator *allocator, size_t bytes) {
    uint64_t planned = nnl_trial_next(allocator->trial, bytes);
    if (planned & NNL_TRIAL_EXACT) return (size_t)(planned & ~NNL_TRIAL_EXACT);
    return nnl_alloc_counted((size_t)planned);
}

void *nnl_alloc(nnl_allocator *allocator, size_t bytes) {
    allocator->stats.requests++;
    size_t bin = bin_of(bytes);
    if (bin >= NNL_SIZE_CLASSES || told_to_fail(allocator)) return NULL;
    nnl_block *block = block_get(allocator, bin);
    if (!block) {
        ask_host(allocator);
        block = block_get(allocator, bin);
    }
    if (!block) return NULL;
    block->before = allocator->newest;
    allocator->newest = block;
    block->counted = allocator->trial ? planned_size(allocator, bytes) : block->bytes;
    count_live(allocator, block->counted);
    unpoison(block + 1, bytes);
    return block + 1;
}

// What is cached never exceeds the most that was ever in use, so a program needs at most twice its peak.
static size_t cache_bound(const nnl_allocator *allocator) {
    return allocator->highest > CACHE_FLOOR ? allocator->highest : CACHE_FLOOR;
}

// The class that keeps the most: giving up some of it, the others keep what a step needs of them.
static size_t fullest_bin(const nnl_allocator *allocator) {
    size_t fullest = 0;
    for (size_t bin = 1; bin < NNL_SIZE_CLASSES; bin++) {
        if (allocator->cached[bin] > allocator->cached[fullest]) fullest = bin;
    }
    return fullest;
}

static void cache_shrink(nnl_allocator *allocator, size_t bytes) {
    while (allocator->stats.cached > bytes) {
        system_give(allocator, cache_take(allocator, fullest_bin(allocator)));
    }
}

// A collector frees the newest first: the one before is next. A small tensor's head is in the first lines.
static inline void expect(const nnl_block *block) {
    __builtin_prefetch(block, 1);
    for (int line = 1; line <= EXPECTED_LINES; line++)
        __builtin_prefetch((const char *)block + line * NNL_ALIGNMENT, 1);
}

void nnl_free(nnl_allocator *allocator, void *memory) {
    if (!memory) return;
    nnl_block *block = block_of(memory);
    expect(block->before);
    allocator->stats.live -= block->counted;
    size_t bound = cache_bound(allocator);
    if (allocator->stats.cached + block->bytes > bound) cache_shrink(allocator, bound - block->bytes);
    cache_give(allocator, block);
}

bool nnl_allocator_charge(nnl_allocator *allocator, size_t bytes) {
    if (told_to_fail(allocator)) return false;
    if (over_limit(allocator, bytes)) nnl_allocator_trim(allocator);
    if (over_limit(allocator, bytes)) ask_host(allocator);
    if (over_limit(allocator, bytes)) nnl_allocator_trim(allocator);
    if (over_limit(allocator, bytes)) return false;
    count_live(allocator, bytes);
    return true;
}

void nnl_allocator_discharge(nnl_allocator *allocator, size_t bytes) { allocator->stats.live -= bytes; }
