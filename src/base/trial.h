// trial.h: what a computation at a small scale says of one at a larger scale. A trial records the sizes that
// are asked for, in order; from two of them, of batches of different sizes, follow those of any batch; and
// while a plan of sizes is played back, the allocator counts by it, so that what is live, the peak, and the
// pace of a host's collector are those of the larger one.
#ifndef NNL_BASE_TRIAL_H
#define NNL_BASE_TRIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct nnl_trial {
    uint64_t *sizes; // recorded: owned
    size_t count, room;
    const uint64_t *plan; // borrowed; NULL: records
    size_t planned;
    bool failed; // no memory to record in, or more was asked for than is planned
} nnl_trial;

// A planned size that is counted as it is, not rounded up to a class.
#define NNL_TRIAL_EXACT ((uint64_t)1 << 63)

// The next request: notes its size, or says which one to count.
uint64_t nnl_trial_next(nnl_trial *trial, size_t bytes);

void nnl_trial_clear(nnl_trial *trial);

// Sizes for a scale `wanted` from those at the scales `low` and `high`, of as many requests each, into plan.
void nnl_trial_extend(size_t count, const uint64_t *at_low, double low, const uint64_t *at_high, double high,
                      double wanted, uint64_t *plan);

#endif
