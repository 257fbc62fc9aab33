// split.h: text in pieces that tokenizers look at one by one: each follows the one before, and nothing is
// left out but white space where a rule says so.
#ifndef NNL_DATA_SPLIT_H
#define NNL_DATA_SPLIT_H

#include "data/unicode.h"

#include <stdbool.h>

typedef enum nnl_split_rule {
    NNL_SPLIT_NONE,       // all of it in one piece
    NNL_SPLIT_GPT2,       // GPT-2's pattern: contractions, letters, numbers, others, white space
    NNL_SPLIT_GPT4,       // that of cl100k, Llama 3 and Qwen
    NNL_SPLIT_CHARACTERS, // one by one
    NNL_SPLIT_SPACES,     // what stands between white space, which is left out
    NNL_SPLIT_WORDS,      // words, numbers, and signs one by one, without the white space
} nnl_split_rule;

typedef struct nnl_split {
    nnl_split_rule rule;
    uint32_t digits; // GPT-2: 1 for digits one by one; GPT-4: the most in a piece; 0: any number of them
    const char *at, *end;
    const char *limit; // begins as NULL: where the next digit is
} nnl_split;

// The next piece from `at` on, `at` then being behind it; its length is 0 at the end alone.
size_t nnl_split_next(nnl_split *split, const char **piece);

#endif
