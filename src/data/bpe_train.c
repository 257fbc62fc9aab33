// bpe_train.c: which pairs to merge (Sennrich et al. 2016, algorithm 1). Each different piece of the text is
// kept once with its count. A pair knows how often it is there and in which pieces it was met, so a merge
// costs what it changes.
#include "data/bpe.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 1024
#define NONE UINT32_MAX
#define PIECES_UNWATCHED 4096

typedef struct pair {
    uint32_t left, right;
    int64_t count;
    uint32_t nodes;     // the newest of its list, or NONE
    uint32_t last_word; // of that list
    bool grown;         // since it was last put on the heap
} pair;

typedef struct node {
    uint32_t word, older;
} node;

typedef struct span {
    size_t start, length;
} span;

typedef struct candidate {
    int64_t count;
    uint32_t pair;
} candidate;

typedef struct training {
    nnl_context *ctx;
    nnl_bpe *bpe;
    const int64_t *counts;                      // of words
    nnl_bytes symbols, spans;                   // ids, and where those of a word are
    nnl_bytes pairs, slots, nodes, heap, grown; // grown: numbers of pairs
    uint32_t mask;
} training;

static pair *pairs_of(training *t) { return (pair *)(void *)t->pairs.data; }

// ---- pairs by their ids

static uint32_t slot_of(training *t, uint32_t left, uint32_t right) {
    const uint32_t *slots = (const uint32_t *)(const void *)t->slots.data;
    const pair *pairs = pairs_of(t);
    uint64_t key = (uint64_t)left << 32 | right;
    uint32_t slot = (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32) & t->mask;
    while (slots[slot] != NONE && (pairs[slots[slot]].left != left || pairs[slots[slot]].right != right))
        slot = (slot + 1) & t->mask;
    return slot;
}

static nnl_status grow(training *t, size_t count) {
    size_t slots = t->mask == 0 ? FIRST_SLOTS : ((size_t)t->mask + 1) * 2;
    nnl_bytes_free(&t->slots);
    if (slots > UINT32_MAX / 2)
        return nnl_fail(t->ctx, NNL_ERR_MEMORY, "out of memory: no room for %zu pairs", slots);
    if (nnl_bytes_reserve(&t->slots, slots * sizeof(uint32_t)) != NNL_OK) return t->ctx->status;
    memset(t->slots.data, 0xff, slots * sizeof(uint32_t));
    t->mask = (uint32_t)slots - 1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = slot_of(t, pairs_of(t)[i].left, pairs_of(t)[i].right);
        ((uint32_t *)(void *)t->slots.data)[slot] = i;
    }
    return NNL_OK;
}

// The number of a pair, which is made where it is new.
static nnl_status pair_of(training *t, uint32_t left, uint32_t right, uint32_t *number) {
    size_t count = t->pairs.length / sizeof(pair);
    if (count >= t->mask / 2 && grow(t, count) != NNL_OK) return t->ctx->status;
    uint32_t *slot = (uint32_t *)(void *)t->slots.data + slot_of(t, left, right);
    if (*slot == NONE) {
        pair new = {.left = left, .right = right, .nodes = NONE, .last_word = NONE};
        if (nnl_bytes_add(&t->pairs, &new, sizeof new) != NNL_OK) return t->ctx->status;
        *slot = (uint32_t)count;
    }
    *number = *slot;
    return NNL_OK;
}

// The pair is there `times` more, or fewer, in this word.
static nnl_status count_pair(training *t, uint32_t left, uint32_t right, uint32_t word, int64_t times) {
    uint32_t number;
    if (pair_of(t, left, right, &number) != NNL_OK) return t->ctx->status;
    pair *p = &pairs_of(t)[number];
    p->count += times;
    if (times < 0) return NNL_OK;
    if (p->last_word != word || p->nodes == NONE) {
        node new = {word, p->nodes};
        size_t count = t->nodes.length / sizeof new;
        if (count >= NONE) return nnl_fail(t->ctx, NNL_ERR_MEMORY, "out of memory: too many pairs");
        if (nnl_bytes_add(&t->nodes, &new, sizeof new) != NNL_OK) return t->ctx->status;
        p->nodes = (uint32_t)count;
        p->last_word = word;
    }
    if (p->grown) return NNL_OK;
    p->grown = true;
    return nnl_bytes_add(&t->grown, &number, sizeof number);
}

// ---- the heap of candidates: an entry may be out of date, and is then put right or dropped when it comes to
// the top

static bool better(const training *t, candidate a, candidate b) {
    const pair *pairs = (const pair *)(const void *)t->pairs.data, *p = &pairs[a.pair], *q = &pairs[b.pair];
    if (a.count != b.count) return a.count > b.count;
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static nnl_status push(training *t, candidate item) {
    if (nnl_bytes_add(&t->heap, &item, sizeof item) != NNL_OK) return t->ctx->status;
    candidate *items = (candidate *)(void *)t->heap.data;
    size_t i = t->heap.length / sizeof item - 1;
    for (; i > 0 && better(t, item, items[(i - 1) / 2]); i = (i - 1) / 2) items[i] = items[(i - 1) / 2];
    items[i] = item;
    return NNL_OK;
}

static candidate pop(training *t) {
    candidate *items = (candidate *)(void *)t->heap.data, top = items[0];
    t->heap.length -= sizeof top;
    size_t count = t->heap.length / sizeof top, i = 0;
    candidate last = items[count];
    for (size_t child = 1; child < count; child = 2 * i + 1) {
        if (child + 1 < count && better(t, items[child + 1], items[child])) child++;
        if (!better(t, items[child], last)) break;
        items[i] = items[child];
        i = child;
    }
    items[i] = last;
    return top;
}

static nnl_status push_grown(training *t) {
    size_t count = t->grown.length / sizeof(uint32_t);
    for (size_t i = 0; i < count; i++) {
        uint32_t number = ((const uint32_t *)(const void *)t->grown.data)[i];
        pair *p = &pairs_of(t)[number];
        p->grown = false;
        if (p->count > 0 && push(t, (candidate){p->count, number}) != NNL_OK) return t->ctx->status;
    }
    t->grown.length = 0;
    return NNL_OK;
}

// The best pair of at least this count, or NONE.
static nnl_status best_pair(training *t, int64_t least, uint32_t *number) {
    *number = NONE;
    while (t->heap.length > 0) {
        candidate top = pop(t);
        int64_t count = pairs_of(t)[top.pair].count;
        if (count < top.count) {
            if (count > 0 && push(t, (candidate){count, top.pair}) != NNL_OK) return t->ctx->status;
        } else if (count == top.count) {
            if (count >= least) *number = top.pair;
            return NNL_OK;
        }
    }
    return NNL_OK;
}

// ---- words

static nnl_status read_words(training *t, const nnl_bpe_trainer *trainer) {
    for (uint32_t w = 0; w < trainer->words.count; w++) {
        nnl_word word = nnl_words_get(&trainer->words, w);
        span at = {t->symbols.length / sizeof(uint32_t), word.length};
        if (nnl_bytes_add(&t->spans, &at, sizeof at) != NNL_OK ||
            nnl_bytes_reserve(&t->symbols, word.length * sizeof(uint32_t)) != NNL_OK)
            return t->ctx->status;
        uint32_t *ids = (uint32_t *)(void *)t->symbols.data + at.start;
        t->symbols.length += word.length * sizeof(uint32_t);
        for (size_t i = 0; i < word.length; i++) {
            ids[i] = t->bpe->byte_ids[(uint8_t)word.text[i]];
            if (i > 0 && count_pair(t, ids[i - 1], ids[i], w, t->counts[w]) != NNL_OK) return t->ctx->status;
        }
        if (w % PIECES_UNWATCHED == 0 && nnl_check_stop(t->ctx, "train") != NNL_OK) return t->ctx->status;
    }
    return push_grown(t);
}

// One place where the pair stands between `before` and `after`, each of them 0 where there is nothing.
static nnl_status recount(training *t, pair p, uint32_t made, uint32_t before, uint32_t after, uint32_t w) {
    int64_t times = t->counts[w];
    nnl_status status = count_pair(t, p.left, p.right, w, -times);
    if (status == NNL_OK && before) status = count_pair(t, before, p.left, w, -times);
    if (status == NNL_OK && before) status = count_pair(t, before, made, w, times);
    if (status == NNL_OK && after) status = count_pair(t, p.right, after, w, -times);
    if (status == NNL_OK && after) status = count_pair(t, made, after, w, times);
    return status;
}

static nnl_status merge_in_word(training *t, pair p, uint32_t made, uint32_t w) {
    span *at = (span *)(void *)t->spans.data + w;
    uint32_t *ids = (uint32_t *)(void *)t->symbols.data + at->start;
    size_t left = 0;
    for (size_t i = 0; i < at->length; i++) {
        bool here = ids[i] == p.left && i + 1 < at->length && ids[i + 1] == p.right;
        if (here) {
            uint32_t before = left > 0 ? ids[left - 1] : 0, after = i + 2 < at->length ? ids[i + 2] : 0;
            if (recount(t, p, made, before, after, w) != NNL_OK) return t->ctx->status;
            i++;
        }
        ids[left++] = here ? made : ids[i];
    }
    at->length = left;
    return NNL_OK;
}

static nnl_status merge_pair(training *t, uint32_t number, uint32_t made) {
    pair p = pairs_of(t)[number];
    pairs_of(t)[number].nodes = NONE;
    for (uint32_t at = p.nodes; at != NONE;) {
        node here = ((const node *)(const void *)t->nodes.data)[at];
        if (merge_in_word(t, p, made, here.word) != NNL_OK) return t->ctx->status;
        at = here.older;
    }
    return push_grown(t);
}

// ---- tokens

// The token that a pair makes; 0 where it would be too long or a special one.
static nnl_status token_of(training *t, uint32_t number, size_t max_length, uint32_t *id) {
    nnl_bpe *bpe = t->bpe;
    pair p = pairs_of(t)[number];
    nnl_word left = nnl_bpe_token(bpe, p.left), right = nnl_bpe_token(bpe, p.right);
    nnl_bytes *both = &bpe->scratch;
    *id = 0;
    both->length = 0;
    if (max_length > 0 && left.length + right.length > max_length) return NNL_OK;
    if (nnl_bytes_reserve(both, left.length + right.length) != NNL_OK) return t->ctx->status;
    nnl_bytes_add(both, left.text, left.length); // has room
    nnl_bytes_add(both, right.text, right.length);
    *id = nnl_bpe_id(bpe, both->data, both->length);
    if (*id > 0) {
        if (nnl_bpe_find_special(bpe, *id)) *id = 0;
        return NNL_OK;
    }
    if (nnl_bpe_add_token(bpe, both->data, both->length, true) != NNL_OK) return t->ctx->status;
    *id = nnl_bpe_size(bpe);
    return NNL_OK;
}

static nnl_status run(training *t, const nnl_bpe_trainer *trainer, const nnl_bpe_training *how) {
    if (read_words(t, trainer) != NNL_OK) return t->ctx->status;
    while (nnl_bpe_size(t->bpe) < how->vocab_size) {
        uint32_t number, made;
        if (best_pair(t, how->min_frequency, &number) != NNL_OK) return t->ctx->status;
        if (number == NONE) return NNL_OK;
        if (token_of(t, number, how->max_length, &made) != NNL_OK) return t->ctx->status;
        if (made == 0) continue;
        pair p = pairs_of(t)[number];
        if (nnl_bpe_add_merge_ids(t->bpe, p.left, p.right, made) != NNL_OK ||
            merge_pair(t, number, made) != NNL_OK || nnl_check_stop(t->ctx, "train") != NNL_OK)
            return t->ctx->status;
    }
    return NNL_OK;
}

nnl_status nnl_bpe_train(const nnl_bpe_trainer *trainer, const nnl_bpe_training *how, nnl_bpe *bpe) {
    nnl_context *ctx = bpe->ctx;
    for (int byte = 0; byte < 256; byte++) {
        if (bpe->byte_ids[byte] == 0)
            return nnl_fail(ctx, NNL_ERR_ARGUMENT, "train: there is no token for byte %d", byte);
    }
    training t = {.ctx = ctx,
                  .bpe = bpe,
                  .counts = (const int64_t *)(const void *)trainer->counts.data,
                  .symbols = {.ctx = ctx},
                  .spans = {.ctx = ctx},
                  .pairs = {.ctx = ctx},
                  .slots = {.ctx = ctx},
                  .nodes = {.ctx = ctx},
                  .heap = {.ctx = ctx},
                  .grown = {.ctx = ctx}};
    nnl_status status = run(&t, trainer, how);
    nnl_bytes *all[] = {&t.symbols, &t.spans, &t.pairs, &t.slots, &t.nodes, &t.heap, &t.grown};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) nnl_bytes_free(all[i]);
    return status;
}

// ---- what is trained on

nnl_bpe_trainer *nnl_bpe_trainer_new(nnl_context *ctx, nnl_split_rule rule, uint32_t digits) {
    nnl_bpe_trainer *trainer = calloc(1, sizeof *trainer);
    if (!trainer) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a training");
    nnl_context_retain(ctx);
    *trainer = (nnl_bpe_trainer){
        .ctx = ctx, .rule = rule, .digits = digits, .words = nnl_words_of(ctx), .counts = {.ctx = ctx}};
    return trainer;
}

void nnl_bpe_trainer_free(nnl_bpe_trainer *trainer) {
    if (!trainer) return;
    nnl_context *ctx = trainer->ctx;
    nnl_words_free(&trainer->words);
    nnl_bytes_free(&trainer->counts);
    free(trainer);
    nnl_context_release(ctx);
}

static nnl_status count_word(nnl_bpe_trainer *trainer, const char *text, size_t length) {
    uint32_t number, before = trainer->words.count;
    int64_t none = 0;
    if (nnl_bytes_reserve(&trainer->counts, sizeof none) != NNL_OK ||
        nnl_words_add(&trainer->words, text, length, &number) != NNL_OK)
        return trainer->ctx->status;
    if (number == before) nnl_bytes_add(&trainer->counts, &none, sizeof none); // has room
    ((int64_t *)(void *)trainer->counts.data)[number]++;
    return NNL_OK;
}

nnl_status nnl_bpe_trainer_add(nnl_bpe_trainer *trainer, const char *text, size_t length) {
    nnl_split split = {.rule = trainer->rule, .digits = trainer->digits, .at = text, .end = text + length};
    const char *piece;
    size_t size, count = 0;
    while ((size = nnl_split_next(&split, &piece)) > 0) {
        if (count_word(trainer, piece, size) != NNL_OK) return trainer->ctx->status;
        if (++count % PIECES_UNWATCHED == 0 && nnl_check_stop(trainer->ctx, "train") != NNL_OK)
            return trainer->ctx->status;
    }
    return NNL_OK;
}
