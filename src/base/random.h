// random.h: Philox 4x32-10, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1,
// 2, 3", 2011). Element i of a draw depends on the seed and its position only, so any number of threads gives
// the same bits.
#ifndef NNL_BASE_RANDOM_H
#define NNL_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct nnl_random {
    uint64_t seed;
    uint64_t position; // blocks of four 32-bit words drawn so far
} nnl_random;

void nnl_random_seed(nnl_random *random, uint64_t seed);

// Reserve `count` 32-bit words; returns the block at which they begin.
uint64_t nnl_random_reserve(nnl_random *random, size_t count);

// The function itself, as its authors define it.
void nnl_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);

// The four words of one block: the seed is the key, the block's number the counter.
void nnl_random_block(uint64_t seed, uint64_t block, uint32_t words[4]);

// One word, one double in [0, 1), one integer in [0, bound): for scalar needs such as shuffling.
uint32_t nnl_random_word(nnl_random *random);
double nnl_random_double(nnl_random *random);
uint64_t nnl_random_below(nnl_random *random, uint64_t bound);

#endif
