// bpe_encode.c: text to ids and back. A piece of text is a chain of symbols; the pair of the lowest rank is
// merged, the leftmost first, until none has a rank. A heap finds it, so that n symbols take n log n steps
// whatever they are.
#include "data/bpe.h"

#include <string.h>

#define KNOWN_LENGTH 64        // longer pieces are not remembered
#define KNOWN_BYTES (4u << 20) // of pieces remembered, before all are forgotten
#define PIECES_UNWATCHED 4096  // between looks whether the host wants to stop
#define NONE UINT32_MAX

typedef struct symbol {
    uint32_t id;
    uint32_t before, after; // places of neighbours, or NONE
    uint32_t rank, merged;  // of the pair with the next; rank NONE: no merge, or the symbol is gone
} symbol;

typedef struct place {
    uint32_t start, count;
} place;

static symbol *symbols_of(nnl_bpe *bpe) { return (symbol *)(void *)bpe->scratch.data; }

// ---- the heap: rank and place in one number, the least on top

static nnl_status heap_push(nnl_bytes *heap, uint64_t item) {
    if (nnl_bytes_add(heap, &item, sizeof item) != NNL_OK) return heap->ctx->status;
    uint64_t *items = (uint64_t *)(void *)heap->data;
    size_t i = heap->length / sizeof item - 1;
    for (; i > 0 && items[(i - 1) / 2] > item; i = (i - 1) / 2) items[i] = items[(i - 1) / 2];
    items[i] = item;
    return NNL_OK;
}

static uint64_t heap_pop(nnl_bytes *heap) {
    uint64_t *items = (uint64_t *)(void *)heap->data, top = items[0];
    heap->length -= sizeof top;
    size_t count = heap->length / sizeof top, i = 0;
    uint64_t last = items[count];
    for (size_t child = 1; child < count; child = 2 * i + 1) {
        if (child + 1 < count && items[child + 1] < items[child]) child++;
        if (items[child] >= last) break;
        items[i] = items[child];
        i = child;
    }
    items[i] = last;
    return top;
}

// ---- merging

static nnl_status rank_pair(nnl_bpe *bpe, uint32_t at) {
    symbol *all = symbols_of(bpe), *s = &all[at];
    s->rank = s->after == NONE ? NONE : nnl_bpe_rank(bpe, s->id, all[s->after].id, &s->merged);
    return s->rank == NONE ? NNL_OK : heap_push(&bpe->heap, (uint64_t)s->rank << 32 | at);
}

// The symbol takes in its neighbour.
static nnl_status merge_at(nnl_bpe *bpe, uint32_t at) {
    symbol *all = symbols_of(bpe), *s = &all[at], *gone = &all[s->after];
    s->id = s->merged;
    s->after = gone->after;
    gone->rank = NONE;
    if (s->after != NONE) all[s->after].before = at;
    if (s->before != NONE && rank_pair(bpe, s->before) != NNL_OK) return bpe->ctx->status;
    return rank_pair(bpe, at);
}

static nnl_status merge_all(nnl_bpe *bpe) {
    size_t count = bpe->scratch.length / sizeof(symbol);
    bpe->heap.length = 0;
    for (size_t i = 0; i < count; i++) {
        if (rank_pair(bpe, (uint32_t)i) != NNL_OK) return bpe->ctx->status;
    }
    for (size_t steps = 0; bpe->heap.length > 0; steps++) {
        uint64_t top = heap_pop(&bpe->heap);
        bool valid = symbols_of(bpe)[(uint32_t)top].rank == top >> 32;
        if (valid && merge_at(bpe, (uint32_t)top) != NNL_OK) return bpe->ctx->status;
        if (steps % PIECES_UNWATCHED == PIECES_UNWATCHED - 1 && nnl_check_stop(bpe->ctx, "encode") != NNL_OK)
            return bpe->ctx->status;
    }
    return NNL_OK;
}

// ---- symbols of a piece

static nnl_status refuse_piece(const nnl_bpe *bpe, const char *text, size_t length) {
    return nnl_fail(bpe->ctx, NNL_ERR_ARGUMENT,
                    "no token for '%.*s' (first byte %u), and none for what is unknown (unk)",
                    (int)(length < 99 ? length : 99), text, (unsigned)(uint8_t)*text);
}

static nnl_status add_symbol(nnl_bpe *bpe, uint32_t id, const char *text, size_t length) {
    size_t count = bpe->scratch.length / sizeof(symbol);
    symbol s = {id ? id : bpe->unknown, count > 0 ? (uint32_t)count - 1 : NONE, NONE, NONE, 0};
    if (s.id == 0)
        return nnl_fail(bpe->ctx, NNL_ERR_ARGUMENT,
                        "no token for '%.*s' (byte %u), and none for what is unknown (unk)", (int)length,
                        text, (unsigned)(uint8_t)*text);
    if (count >= NONE - 1) return nnl_fail(bpe->ctx, NNL_ERR_ARGUMENT, "a piece of text is too long");
    if (nnl_bytes_add(&bpe->scratch, &s, sizeof s) != NNL_OK) return bpe->ctx->status;
    if (count > 0) symbols_of(bpe)[count - 1].after = (uint32_t)count;
    return NNL_OK;
}

static bool has_bytes(const nnl_bpe *bpe, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (bpe->byte_ids[(uint8_t)text[i]] == 0) return false;
    }
    return true;
}

static nnl_status add_bytes(nnl_bpe *bpe, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (add_symbol(bpe, bpe->byte_ids[(uint8_t)text[i]], text + i, 1) != NNL_OK) return bpe->ctx->status;
    }
    return NNL_OK;
}

static nnl_status add_symbols(nnl_bpe *bpe, const char *text, size_t length) {
    bpe->scratch.length = 0;
    if (bpe->kind == NNL_BPE_BYTES) return add_bytes(bpe, text, length);
    for (const char *end = text + length; text < end;) {
        nnl_char c = nnl_char_at(text, end);
        uint32_t id = nnl_bpe_id(bpe, text, c.length);
        bool falls_back = id == 0 && has_bytes(bpe, text, c.length);
        nnl_status status = falls_back ? add_bytes(bpe, text, c.length) : add_symbol(bpe, id, text, c.length);
        if (status != NNL_OK) return status;
        text += c.length;
    }
    return NNL_OK;
}

// ---- a piece

static nnl_status put_ids(nnl_bytes *out, const uint32_t *ids, size_t count) {
    if (nnl_bytes_reserve(out, count * sizeof(int64_t)) != NNL_OK) return out->ctx->status;
    int64_t *to = (int64_t *)(void *)(out->data + out->length);
    for (size_t i = 0; i < count; i++) to[i] = ids[i];
    out->length += count * sizeof(int64_t);
    return NNL_OK;
}

static nnl_status remember(nnl_bpe *bpe, const char *text, size_t length, place at) {
    uint32_t number;
    if (nnl_bytes_reserve(&bpe->known_at, sizeof at) != NNL_OK ||
        nnl_words_add(&bpe->known, text, length, &number) != NNL_OK)
        return bpe->ctx->status;
    return nnl_bytes_add(&bpe->known_at, &at, sizeof at);
}

static void forget_all(nnl_bpe *bpe) {
    nnl_words_free(&bpe->known);
    bpe->known_ids.length = bpe->known_at.length = 0;
}

// Merges the piece; its ids go behind those that are known already.
static nnl_status merge_piece(nnl_bpe *bpe, const char *text, size_t length, place *at) {
    if (bpe->known.text.length > KNOWN_BYTES || bpe->known_ids.length > KNOWN_BYTES) forget_all(bpe);
    *at = (place){(uint32_t)(bpe->known_ids.length / sizeof(uint32_t)), 0};
    if (add_symbols(bpe, text, length) != NNL_OK || merge_all(bpe) != NNL_OK) return bpe->ctx->status;
    const symbol *all = symbols_of(bpe);
    for (uint32_t i = 0; i != NONE; i = all[i].after, at->count++) {
        if (nnl_bytes_add(&bpe->known_ids, &all[i].id, sizeof all[i].id) != NNL_OK) return bpe->ctx->status;
    }
    return NNL_OK;
}

static nnl_status encode_piece(nnl_bpe *bpe, const char *text, size_t length, nnl_bytes *out) {
    bool pieces = bpe->kind == NNL_BPE_PIECES;
    uint32_t id = pieces || bpe->whole ? nnl_bpe_id(bpe, text, length) : 0;
    if (pieces && id == 0) id = bpe->unknown;
    if (id > 0) return put_ids(out, &id, 1);
    if (pieces) return refuse_piece(bpe, text, length);
    uint32_t known = length <= KNOWN_LENGTH ? nnl_words_find(&bpe->known, text, length) : NNL_NO_WORD;
    place at;
    if (known != NNL_NO_WORD) {
        at = ((const place *)(const void *)bpe->known_at.data)[known];
    } else {
        nnl_status status = merge_piece(bpe, text, length, &at);
        if (status == NNL_OK && length <= KNOWN_LENGTH) status = remember(bpe, text, length, at);
        if (status != NNL_OK) return status;
    }
    const uint32_t *ids = (const uint32_t *)(const void *)bpe->known_ids.data + at.start;
    nnl_status status = put_ids(out, ids, at.count);
    if (length > KNOWN_LENGTH) bpe->known_ids.length = at.start * sizeof(uint32_t);
    return status;
}

// ---- text: what lies between special tokens, piece by piece

static nnl_status with_prefix(nnl_bpe *bpe, const char **text, size_t *length) {
    if (!bpe->prefix || *length == 0 || (bpe->kind == NNL_BPE_BYTES && **text == ' ')) return NNL_OK;
    bpe->prefixed.length = 0;
    if (nnl_bytes_reserve(&bpe->prefixed, *length + 1) != NNL_OK) return bpe->ctx->status;
    nnl_bytes_add(&bpe->prefixed, " ", 1); // has room
    nnl_bytes_add(&bpe->prefixed, *text, *length);
    *text = bpe->prefixed.data;
    *length = bpe->prefixed.length;
    return NNL_OK;
}

static nnl_status encode_plain(nnl_bpe *bpe, const char *text, size_t length, nnl_bytes *out) {
    if (with_prefix(bpe, &text, &length) != NNL_OK) return bpe->ctx->status;
    nnl_split split = {.rule = bpe->rule, .digits = bpe->digits, .at = text, .end = text + length};
    const char *piece;
    size_t size, count = 0;
    while ((size = nnl_split_next(&split, &piece)) > 0) {
        if (encode_piece(bpe, piece, size, out) != NNL_OK) return bpe->ctx->status;
        if (++count % PIECES_UNWATCHED == 0 && nnl_check_stop(bpe->ctx, "encode") != NNL_OK)
            return bpe->ctx->status;
    }
    return NNL_OK;
}

// The longest special token that begins here, or NULL.
static const nnl_bpe_special *special_at(const nnl_bpe *bpe, const char *at, const char *end) {
    const nnl_bpe_special *list = (const nnl_bpe_special *)(const void *)bpe->specials.data;
    for (size_t i = 0; i < bpe->specials.length / sizeof *list; i++) {
        nnl_word word = nnl_bpe_token(bpe, list[i].id);
        if (word.length <= (size_t)(end - at) && memcmp(word.text, at, word.length) == 0) return &list[i];
    }
    return NULL;
}

static const char *skip_spaces(const char *at, const char *end) {
    while (at < end) {
        nnl_char c = nnl_char_at(at, end);
        if (c.class != NNL_CHAR_SPACE) break;
        at += c.length;
    }
    return at;
}

// Where the white space before `end` begins.
static const char *trim(const char *at, const char *end) {
    const char *solid = at;
    while (at < end) {
        nnl_char c = nnl_char_at(at, end);
        at += c.length;
        if (c.class != NNL_CHAR_SPACE) solid = at;
    }
    return solid;
}

nnl_status nnl_bpe_encode(nnl_bpe *bpe, const char *text, size_t length, bool specials, nnl_bytes *out) {
    const char *end = text + length, *start = text;
    if (!specials || bpe->specials.length == 0) return encode_plain(bpe, text, length, out);
    while (text < end) {
        const nnl_bpe_special *found = bpe->special_first[(uint8_t)*text] ? special_at(bpe, text, end) : NULL;
        if (!found) {
            text++;
            continue;
        }
        const char *stop = found->strips_left ? trim(start, text) : text;
        if (encode_plain(bpe, start, (size_t)(stop - start), out) != NNL_OK ||
            put_ids(out, &found->id, 1) != NNL_OK)
            return bpe->ctx->status;
        text += nnl_bpe_token(bpe, found->id).length;
        if (found->strips_right) text = skip_spaces(text, end);
        start = text;
    }
    return encode_plain(bpe, start, (size_t)(end - start), out);
}

// ---- back

nnl_status nnl_bpe_decode(const nnl_bpe *bpe, const int64_t *ids, size_t count, bool specials,
                          nnl_bytes *out) {
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 1 || ids[i] > nnl_bpe_size(bpe))
            return nnl_fail(bpe->ctx, NNL_ERR_ARGUMENT, "expected ids from 1 to %u, got %lld (item %zu)",
                            nnl_bpe_size(bpe), (long long)ids[i], i + 1);
        const nnl_bpe_special *special = specials ? NULL : nnl_bpe_find_special(bpe, (uint32_t)ids[i]);
        if (special && !special->shown) continue;
        nnl_word word = nnl_bpe_token(bpe, (uint32_t)ids[i]);
        if (nnl_bytes_add(out, word.text, word.length) != NNL_OK) return bpe->ctx->status;
    }
    return NNL_OK;
}
