// unicode.h: characters of UTF-8 text by their class, and in lower case. Bytes that are not UTF-8 are
// characters of their own, of no class, so that any bytes are text.
#ifndef NNL_DATA_UNICODE_H
#define NNL_DATA_UNICODE_H

#include "io/bytes.h"

#include <stddef.h>
#include <stdint.h>

// The first letters of Unicode's general categories, white space apart.
typedef enum nnl_char_class {
    NNL_CHAR_OTHER,
    NNL_CHAR_SPACE, // White_Space
    NNL_CHAR_LETTER,
    NNL_CHAR_MARK,
    NNL_CHAR_NUMBER,
    NNL_CHAR_PUNCTUATION,
    NNL_CHAR_SYMBOL,
} nnl_char_class;

typedef struct nnl_char {
    uint32_t code; // of a byte that is not UTF-8: 0x110000 + the byte
    uint32_t length;
    nnl_char_class class;
} nnl_char;

// The character at `at`, which must be before `end`.
nnl_char nnl_char_at(const char *at, const char *end);

// The text in lower case behind what `out` holds: each character by itself; what is not UTF-8 stays.
nnl_status nnl_text_lower(nnl_bytes *out, const char *text, size_t length);

#endif
