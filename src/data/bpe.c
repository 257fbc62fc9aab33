// bpe.c: a tokenizer's tokens and merges. bpe_encode.c uses them, bpe_train.c finds them.
#include "data/bpe.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 256
#define BLANK "\xe2\x96\x81" // U+2581
#define BLANK_LENGTH 3

// Left and right id in one key, which is never 0.
typedef struct merge {
    uint64_t key;
    uint32_t rank, merged;
} merge;

static uint64_t key_of(uint32_t left, uint32_t right) { return (uint64_t)left << 32 | right; }

static uint32_t slot_of(const merge *table, uint32_t mask, uint64_t key) {
    uint32_t slot = (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32) & mask;
    while (table[slot].key != 0 && table[slot].key != key) slot = (slot + 1) & mask;
    return slot;
}

// ---- making one

nnl_bpe *nnl_bpe_new(nnl_context *ctx, nnl_bpe_kind kind) {
    nnl_bpe *bpe = calloc(1, sizeof *bpe);
    if (!bpe) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a tokenizer");
    nnl_context_retain(ctx);
    *bpe = (nnl_bpe){.ctx = ctx,
                     .kind = kind,
                     .tokens = nnl_words_of(ctx),
                     .merges = {.ctx = ctx},
                     .merge_list = {.ctx = ctx},
                     .specials = {.ctx = ctx},
                     .known = nnl_words_of(ctx),
                     .known_ids = {.ctx = ctx},
                     .known_at = {.ctx = ctx},
                     .scratch = {.ctx = ctx},
                     .heap = {.ctx = ctx},
                     .prefixed = {.ctx = ctx}};
    return bpe;
}

void nnl_bpe_free(nnl_bpe *bpe) {
    if (!bpe) return;
    nnl_context *ctx = bpe->ctx;
    nnl_words_free(&bpe->tokens);
    nnl_words_free(&bpe->known);
    nnl_bytes *all[] = {&bpe->merges,   &bpe->merge_list, &bpe->specials, &bpe->known_ids,
                        &bpe->known_at, &bpe->scratch,    &bpe->heap,     &bpe->prefixed};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) nnl_bytes_free(all[i]);
    free(bpe);
    nnl_context_release(ctx);
}

static nnl_status add_new(nnl_bpe *bpe, const char *bytes, size_t length) {
    uint32_t number, count = bpe->tokens.count;
    if (nnl_words_add(&bpe->tokens, bytes, length, &number) != NNL_OK) return bpe->ctx->status;
    if (number == count) return NNL_OK;
    return nnl_fail(bpe->ctx, NNL_ERR_ARGUMENT, "the tokens %u and %u are the same", number + 1, count + 1);
}

// The byte that a text such as <0x0A> stands for, or -1.
static int byte_of(const char *text, size_t length) {
    static const char digits[] = "0123456789ABCDEF";
    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const char *high = strchr(digits, text[3]), *low = strchr(digits, text[4]);
    if (!high || !low || !*high || !*low) return -1;
    return (int)((high - digits) * 16 + (low - digits));
}

// Blanks as they are. A byte is found by its value alone.
static nnl_status add_characters(nnl_bpe *bpe, const char *text, size_t length) {
    int byte = byte_of(text, length);
    if (byte >= 0) {
        char c = (char)byte;
        bpe->byte_ids[byte] = bpe->tokens.count + 1;
        return nnl_words_add_hidden(&bpe->tokens, &c, 1);
    }
    nnl_bytes *plain = &bpe->scratch;
    plain->length = 0;
    if (nnl_bytes_reserve(plain, length) != NNL_OK) return bpe->ctx->status;
    for (size_t i = 0; i < length; i++) {
        bool blank = length - i >= BLANK_LENGTH && memcmp(text + i, BLANK, BLANK_LENGTH) == 0;
        plain->data[plain->length++] = blank ? ' ' : text[i];
        if (blank) i += BLANK_LENGTH - 1;
    }
    return add_new(bpe, plain->data, plain->length);
}

nnl_status nnl_bpe_add_token(nnl_bpe *bpe, const char *text, size_t length, bool plain) {
    if (!text) return nnl_words_add_hidden(&bpe->tokens, "", 0);
    if (plain || bpe->kind == NNL_BPE_PIECES) return add_new(bpe, text, length);
    if (bpe->kind == NNL_BPE_CHARACTERS) return add_characters(bpe, text, length);
    bpe->scratch.length = 0;
    bool read = false;
    if (nnl_alphabet_read(&bpe->scratch, text, length, &read) != NNL_OK) return bpe->ctx->status;
    return read ? add_new(bpe, bpe->scratch.data, bpe->scratch.length) : add_new(bpe, text, length);
}

nnl_status nnl_bpe_add_special(nnl_bpe *bpe, nnl_bpe_special special) {
    nnl_word word = nnl_bpe_token(bpe, special.id);
    if (word.length == 0) return nnl_fail(bpe->ctx, NNL_ERR_ARGUMENT, "a special token without text");
    if (nnl_bytes_add(&bpe->specials, &special, sizeof special) != NNL_OK) return bpe->ctx->status;
    nnl_bpe_special *list = (nnl_bpe_special *)(void *)bpe->specials.data;
    size_t place = bpe->specials.length / sizeof special - 1;
    for (; place > 0 && nnl_bpe_token(bpe, list[place - 1].id).length < word.length; place--)
        list[place] = list[place - 1];
    list[place] = special;
    bpe->special_first[(uint8_t)word.text[0]] = true;
    return NNL_OK;
}

nnl_status nnl_bpe_seal(nnl_bpe *bpe) {
    for (int byte = 0; byte < 256 && bpe->kind == NNL_BPE_BYTES; byte++) {
        char c = (char)byte;
        bpe->byte_ids[byte] = nnl_bpe_id(bpe, &c, 1);
    }
    return NNL_OK;
}

// ---- merges

static nnl_status grow(nnl_bpe *bpe) {
    nnl_bytes old = bpe->merges;
    size_t count = bpe->merge_mask == 0 ? FIRST_SLOTS : ((size_t)bpe->merge_mask + 1) * 2;
    bpe->merges = (nnl_bytes){.ctx = bpe->ctx};
    if (count > UINT32_MAX / 2 || nnl_bytes_reserve(&bpe->merges, count * sizeof(merge)) != NNL_OK) {
        bpe->merges = old;
        return nnl_fail(bpe->ctx, NNL_ERR_MEMORY, "out of memory: no room for %zu merges", count);
    }
    merge *table = (merge *)(void *)bpe->merges.data, *from = (merge *)(void *)old.data;
    memset(table, 0, count * sizeof *table);
    for (size_t i = 0; bpe->merge_mask > 0 && i <= bpe->merge_mask; i++) {
        if (from[i].key != 0) table[slot_of(table, (uint32_t)count - 1, from[i].key)] = from[i];
    }
    bpe->merge_mask = (uint32_t)count - 1;
    nnl_bytes_free(&old);
    return NNL_OK;
}

// A pair that comes a second time keeps its first rank.
nnl_status nnl_bpe_add_merge_ids(nnl_bpe *bpe, uint32_t left, uint32_t right, uint32_t merged) {
    uint32_t pair[] = {left, right};
    if (bpe->merge_count >= bpe->merge_mask / 2 && grow(bpe) != NNL_OK) return bpe->ctx->status;
    merge *table = (merge *)(void *)bpe->merges.data;
    uint32_t slot = slot_of(table, bpe->merge_mask, key_of(left, right));
    if (table[slot].key != 0) return NNL_OK;
    if (nnl_bytes_add(&bpe->merge_list, pair, sizeof pair) != NNL_OK) return bpe->ctx->status;
    table[slot] = (merge){key_of(left, right), bpe->merge_count++, merged};
    return NNL_OK;
}

// The bytes of a text as files of this kind write it, behind what `out` holds.
static nnl_status plain_text(const nnl_bpe *bpe, nnl_word word, nnl_bytes *out) {
    bool read = false;
    if (bpe->kind == NNL_BPE_BYTES) {
        if (nnl_alphabet_read(out, word.text, word.length, &read) != NNL_OK) return bpe->ctx->status;
        return read ? NNL_OK : nnl_bytes_add(out, word.text, word.length);
    }
    for (size_t i = 0; i < word.length; i++) {
        bool blank = word.length - i >= BLANK_LENGTH && memcmp(word.text + i, BLANK, BLANK_LENGTH) == 0;
        if (nnl_bytes_add(out, blank ? " " : word.text + i, 1) != NNL_OK) return bpe->ctx->status;
        if (blank) i += BLANK_LENGTH - 1;
    }
    return NNL_OK;
}

nnl_status nnl_bpe_add_merge(nnl_bpe *bpe, nnl_word left, nnl_word right) {
    nnl_bytes *both = &bpe->scratch;
    both->length = 0;
    if (plain_text(bpe, left, both) != NNL_OK) return bpe->ctx->status;
    size_t middle = both->length;
    if (plain_text(bpe, right, both) != NNL_OK) return bpe->ctx->status;
    uint32_t a = nnl_bpe_id(bpe, both->data, middle);
    uint32_t b = nnl_bpe_id(bpe, both->data + middle, both->length - middle);
    uint32_t merged = nnl_bpe_id(bpe, both->data, both->length);
    if (a && b && merged) return nnl_bpe_add_merge_ids(bpe, a, b, merged);
    return nnl_fail(bpe->ctx, NNL_ERR_ARGUMENT,
                    "merge %u: '%.*s' and '%.*s', and what they make, must be tokens", bpe->merge_count + 1,
                    (int)(left.length < 99 ? left.length : 99), left.text,
                    (int)(right.length < 99 ? right.length : 99), right.text);
}

static nnl_status add_line(nnl_bpe *bpe, const char *line, size_t length, size_t number) {
    const char *blank = memchr(line, ' ', length);
    if (length > 0 && line[length - 1] == '\r') length--;
    if (length == 0 || (length >= 8 && memcmp(line, "#version", 8) == 0)) return NNL_OK;
    size_t left = blank ? (size_t)(blank - line) : 0;
    if (left == 0 || left + 1 >= length || memchr(blank + 1, ' ', length - left - 1))
        return nnl_fail(bpe->ctx, NNL_ERR_ARGUMENT, "line %zu: expected two texts with a blank between them",
                        number);
    return nnl_bpe_add_merge(bpe, (nnl_word){line, left}, (nnl_word){blank + 1, length - left - 1});
}

nnl_status nnl_bpe_add_merges(nnl_bpe *bpe, const char *text, size_t length) {
    const char *end = text + length;
    for (size_t number = 1; text < end; number++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t size = (size_t)((stop ? stop : end) - text);
        if (add_line(bpe, text, size, number) != NNL_OK) return bpe->ctx->status;
        text += size + 1;
    }
    return NNL_OK;
}

// ---- asking

uint32_t nnl_bpe_id(const nnl_bpe *bpe, const char *bytes, size_t length) {
    return nnl_words_find(&bpe->tokens, bytes, length) + 1; // NNL_NO_WORD becomes 0
}

uint32_t nnl_bpe_rank(const nnl_bpe *bpe, uint32_t left, uint32_t right, uint32_t *merged) {
    if (bpe->merge_mask == 0) return NNL_NO_WORD;
    const merge *table = (const merge *)(const void *)bpe->merges.data;
    const merge *m = &table[slot_of(table, bpe->merge_mask, key_of(left, right))];
    *merged = m->merged;
    return m->key ? m->rank : NNL_NO_WORD;
}

void nnl_bpe_merge(const nnl_bpe *bpe, uint32_t place, uint32_t *left, uint32_t *right) {
    const uint32_t *pair = (const uint32_t *)(const void *)bpe->merge_list.data + 2 * (size_t)place;
    *left = pair[0];
    *right = pair[1];
}

const nnl_bpe_special *nnl_bpe_find_special(const nnl_bpe *bpe, uint32_t id) {
    const nnl_bpe_special *list = (const nnl_bpe_special *)(const void *)bpe->specials.data;
    for (size_t i = 0; i < bpe->specials.length / sizeof *list; i++) {
        if (list[i].id == id) return &list[i];
    }
    return NULL;
}
