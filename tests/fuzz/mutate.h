// mutate.h: changes to a piece of memory for testing readers of untrusted bytes: always the same ones for a
// seed.
#ifndef NNL_TESTS_MUTATE_H
#define NNL_TESTS_MUTATE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct mutator {
    uint64_t state;    // not 0
    const char *words; // characters that mean something to the reader
} mutator;

static inline size_t mutate_below(mutator *m, size_t bound) { // xorshift
    m->state ^= m->state << 13;
    m->state ^= m->state >> 7;
    m->state ^= m->state << 17;
    return bound ? (size_t)(m->state >> 11) % bound : 0;
}

static inline void mutate_byte(mutator *m, char *byte) {
    switch (mutate_below(m, 4)) {
    case 0:
        *byte = (char)(*byte ^ (1 << mutate_below(m, 8)));
        break;
    case 1:
        *byte = (char)mutate_below(m, 256);
        break;
    case 2:
        *byte = m->words[mutate_below(m, strlen(m->words))];
        break;
    default:
        *byte = (char)(mutate_below(m, 2) ? 0 : 0xff);
    }
}

// One change within `capacity` bytes; returns the new size.
static inline size_t mutate_once(mutator *m, char *data, size_t size, size_t capacity) {
    size_t at = mutate_below(m, size), length = 1 + mutate_below(m, 8);
    if (size == 0) return 0;
    switch (mutate_below(m, 6)) {
    case 0: // cut off the end
        return at;
    case 1: // leave some out
        if (length > size - at) length = size - at;
        memmove(data + at, data + at + length, size - at - length);
        return size - length;
    case 2: // say some twice
        if (length > size - at) length = size - at;
        if (size + length > capacity) return size;
        memmove(data + at + length, data + at, size - at);
        return size + length;
    default:
        mutate_byte(m, data + at);
        return size;
    }
}

// `original` with one to four changes, in `data`.
static inline size_t mutate(mutator *m, const char *original, size_t size, char *data, size_t capacity) {
    memcpy(data, original, size);
    for (size_t n = 1 + mutate_below(m, 4); n > 0; n--) size = mutate_once(m, data, size, capacity);
    return size;
}

#endif
