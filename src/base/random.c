// random.c: Philox 4x32-10 one block at a time. kernel/isa/random.c draws many blocks at once, with the same
// words.
#include "base/random.h"

#define ROUNDS 10
#define MULTIPLIER_0 0xD2511F53u
#define MULTIPLIER_1 0xCD9E8D57u
#define WEYL_0 0x9E3779B9u // the golden ratio
#define WEYL_1 0xBB67AE85u // sqrt(3) - 1

static void philox_round(uint32_t x[4], uint32_t key0, uint32_t key1) {
    uint64_t product0 = (uint64_t)MULTIPLIER_0 * x[0];
    uint64_t product1 = (uint64_t)MULTIPLIER_1 * x[2];
    x[0] = (uint32_t)(product1 >> 32) ^ x[1] ^ key0;
    x[1] = (uint32_t)product1;
    x[2] = (uint32_t)(product0 >> 32) ^ x[3] ^ key1;
    x[3] = (uint32_t)product0;
}

void nnl_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]) {
    for (int i = 0; i < 4; i++) words[i] = counter[i];
    for (uint32_t i = 0; i < ROUNDS; i++) philox_round(words, key[0] + i * WEYL_0, key[1] + i * WEYL_1);
}

void nnl_random_block(uint64_t seed, uint64_t block, uint32_t words[4]) {
    uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), 0, 0};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    nnl_philox(counter, key, words);
}

void nnl_random_seed(nnl_random *random, uint64_t seed) {
    random->seed = seed;
    random->position = 0;
}

uint64_t nnl_random_reserve(nnl_random *random, size_t count) {
    uint64_t block = random->position;
    random->position += count / 4 + (count % 4 != 0);
    return block;
}

static uint64_t draw_two_words(nnl_random *random) {
    uint32_t words[4];
    nnl_random_block(random->seed, nnl_random_reserve(random, 2), words);
    return (uint64_t)words[1] << 32 | words[0];
}

uint32_t nnl_random_word(nnl_random *random) { return (uint32_t)draw_two_words(random); }

double nnl_random_double(nnl_random *random) { return (double)(draw_two_words(random) >> 11) * 0x1p-53; }

// Draws below 2^64 mod bound are drawn again, so that every remainder is equally likely.
uint64_t nnl_random_below(nnl_random *random, uint64_t bound) {
    if (bound == 0) return 0;
    uint64_t unfair = (0 - bound) % bound;
    uint64_t draw = draw_two_words(random);
    while (draw < unfair) draw = draw_two_words(random);
    return draw % bound;
}
