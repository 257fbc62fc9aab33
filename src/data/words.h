// words.h: byte strings by number and back: a hash table in which each string that is added gets the next
// number.
#ifndef NNL_DATA_WORDS_H
#define NNL_DATA_WORDS_H

#include "io/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NNL_NO_WORD UINT32_MAX

typedef struct nnl_word {
    const char *text; // until the next string is added
    size_t length;
} nnl_word;

// Begins as {.text = {.ctx = ctx}, .entries = {.ctx = ctx}, .slots = {.ctx = ctx}}: nnl_words_of(ctx).
typedef struct nnl_words {
    nnl_bytes text, entries, slots;
    uint32_t count;
    uint32_t mask; // slots - 1; 0 before there are any
} nnl_words;

nnl_words nnl_words_of(nnl_context *ctx);
void nnl_words_free(nnl_words *words); // leaves none, ready to be used again

// The number of a string, from 0, or NNL_NO_WORD.
uint32_t nnl_words_find(const nnl_words *words, const char *text, size_t length);

// Its number in `number`, which is words->count - 1 where the string is new.
nnl_status nnl_words_add(nnl_words *words, const char *text, size_t length, uint32_t *number);

// A number that is given to this string without it being found by it.
nnl_status nnl_words_add_hidden(nnl_words *words, const char *text, size_t length);

nnl_word nnl_words_get(const nnl_words *words, uint32_t number);

#endif
