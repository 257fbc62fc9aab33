// alloc.h: memory from a cache of size classes, 64-byte aligned, counted and limited. A training step in the
// steady state takes all its memory from here and none from malloc.
#ifndef NNL_BASE_ALLOC_H
#define NNL_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NNL_ALIGNMENT 64
#define NNL_SIZE_CLASSES 160

typedef struct nnl_memory_stats {
    size_t live;       // bytes handed out, rounded up to their size class
    size_t cached;     // bytes kept for reuse
    size_t peak;       // the most that was live since it was last set back
    uint64_t system;   // calls to the system's allocator so far, to take and to give back
    uint64_t requests; // calls to nnl_alloc so far
} nnl_memory_stats;

typedef struct nnl_block nnl_block;
struct nnl_trial;

typedef struct nnl_allocator {
    nnl_block *free_list[NNL_SIZE_CLASSES];
    size_t cached[NNL_SIZE_CLASSES]; // bytes kept for reuse, by class
    nnl_block *newest;               // the last that was handed out; may be gone
    nnl_memory_stats stats;
    size_t highest;          // the most that was ever live
    size_t limit;            // most bytes live plus cached; 0 for none
    size_t since_report;     // bytes handed out since the host last looked, of small blocks a share: its
                             // collector's pace follows this
    struct nnl_trial *trial; // by which requests are counted now (trial.h), or NULL
    int64_t fail_after;      // for tests: the allocation that fails, counted down; negative for never
    void (*on_exhausted)(void *host); // asked once to free what it can before an allocation fails
    void *host;
} nnl_allocator;

void nnl_allocator_init(nnl_allocator *allocator);

// The peak is what is live now.
void nnl_allocator_reset_peak(nnl_allocator *allocator);

// Give the cached blocks back to the system.
void nnl_allocator_trim(nnl_allocator *allocator);

// Memory of at least `bytes`, not cleared; NULL when there is none. Never 0 bytes apart: nnl_alloc(a, 0) is a
// block too.
void *nnl_alloc(nnl_allocator *allocator, size_t bytes);
void nnl_free(nnl_allocator *allocator, void *memory);

// What a request for so many bytes counts as.
size_t nnl_alloc_counted(size_t bytes);

// Memory that comes from elsewhere counts as handed out until it is discharged; false where that is over the
// limit.
bool nnl_allocator_charge(nnl_allocator *allocator, size_t bytes);
void nnl_allocator_discharge(nnl_allocator *allocator, size_t bytes);

#endif
