// unicode.c: the classes and capitals of Unicode as sorted runs, searched by halves; ASCII directly.
#include "data/unicode.h"

#include "io/utf8.h"

#include <string.h>

#define NOT_UTF8 0x110000u

static const uint32_t runs[] = {
#include "data/unicode_runs.def"
};

typedef struct capitals {
    uint32_t first, last, step;
    int32_t delta;
} capitals;

static const capitals lower[] = {
#include "data/unicode_lower.def"
};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static nnl_char_class class_of(uint32_t code) {
    size_t low = 0, high = COUNT(runs); // the run is in [low, high)
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (runs[middle] >> 3 <= code)
            low = middle;
        else
            high = middle;
    }
    return (nnl_char_class)(runs[low] & 7);
}

#define L NNL_CHAR_LETTER
#define N NNL_CHAR_NUMBER
#define P NNL_CHAR_PUNCTUATION
#define S NNL_CHAR_SYMBOL
#define W NNL_CHAR_SPACE
static const uint8_t ascii[128] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, W, W, W, W, W, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
    W, P, P, P, S, P, P, P, P, P, P, S, P, P, P, P, N, N, N, N, N, N, N, N, N, N, P, P, S, S, S, P, //
    P, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, P, P, P, S, P, //
    S, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, P, S, P, S, 0, //
};
#undef L
#undef N
#undef P
#undef S
#undef W

static uint32_t decode(const char *at, size_t length) {
    static const uint8_t mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = (uint8_t)at[0] & mask[length];
    for (size_t i = 1; i < length; i++) code = code << 6 | ((uint8_t)at[i] & 0x3f);
    return code;
}

nnl_char nnl_char_at(const char *at, const char *end) {
    uint8_t first = (uint8_t)*at;
    if (first < 128) return (nnl_char){first, 1, (nnl_char_class)ascii[first]};
    size_t length = nnl_utf8_length(at, end);
    if (length == 0) return (nnl_char){NOT_UTF8 + first, 1, NNL_CHAR_OTHER};
    uint32_t code = decode(at, length);
    return (nnl_char){code, (uint32_t)length, class_of(code)};
}

// ---- lower case

static uint32_t lower_of(uint32_t code) {
    size_t low = 0, high = COUNT(lower);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (lower[middle].first <= code)
            low = middle;
        else
            high = middle;
    }
    const capitals *c = &lower[low];
    if (code < c->first || code > c->last || (code - c->first) % c->step != 0) return code;
    return (uint32_t)((int64_t)code + c->delta);
}

nnl_status nnl_text_lower(nnl_bytes *out, const char *text, size_t length) {
    const char *end = text + length;
    if (nnl_bytes_reserve(out, length) != NNL_OK) return out->ctx->status;
    for (const char *at = text; at < end;) {
        char written[NNL_UTF8_MAX];
        nnl_char c = nnl_char_at(at, end);
        uint32_t code = c.class == NNL_CHAR_LETTER || c.code >= 128 ? lower_of(c.code) : c.code;
        bool same = code == c.code;
        size_t bytes = same ? c.length : nnl_utf8_write(written, code);
        if (nnl_bytes_add(out, same ? at : written, bytes) != NNL_OK) return out->ctx->status;
        at += c.length;
    }
    return NNL_OK;
}
