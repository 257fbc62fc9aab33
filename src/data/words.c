// words.c: open addressing over numbers of strings, half full at most; the strings lie one after another.
#include "data/words.h"

#include <string.h>

#define FIRST_SLOTS 64

typedef struct entry {
    uint64_t offset;
    uint32_t length, hash;
} entry;

static const entry *entries_of(const nnl_words *words) { return (const entry *)(void *)words->entries.data; }

static uint32_t *slots_of(const nnl_words *words) { return (uint32_t *)(void *)words->slots.data; }

nnl_words nnl_words_of(nnl_context *ctx) {
    return (nnl_words){.text = {.ctx = ctx}, .entries = {.ctx = ctx}, .slots = {.ctx = ctx}};
}

void nnl_words_free(nnl_words *words) {
    nnl_bytes_free(&words->text);
    nnl_bytes_free(&words->entries);
    nnl_bytes_free(&words->slots);
    words->count = words->mask = 0;
}

// Eight bytes at a time, mixed as in Steele et al. 2014 (SplitMix64's finisher).
static uint32_t hash_of(const char *text, size_t length) {
    uint64_t hash = length * 0x9e3779b97f4a7c15u;
    while (length > 0) {
        uint64_t piece = 0;
        size_t size = length < 8 ? length : 8;
        memcpy(&piece, text, size);
        hash = (hash ^ piece) * 0xbf58476d1ce4e5b9u;
        hash ^= hash >> 29;
        text += size;
        length -= size;
    }
    hash *= 0x94d049bb133111ebu;
    return (uint32_t)(hash >> 32);
}

// The slot of the string, or the empty one where it would go.
static uint32_t slot_of(const nnl_words *words, const char *text, size_t length, uint32_t hash) {
    const entry *entries = entries_of(words);
    const uint32_t *slots = slots_of(words);
    uint32_t slot = hash & words->mask;
    for (; slots[slot] != NNL_NO_WORD; slot = (slot + 1) & words->mask) {
        const entry *e = &entries[slots[slot]];
        if (e->hash == hash && e->length == length &&
            (length == 0 || memcmp(words->text.data + e->offset, text, length) == 0))
            return slot;
    }
    return slot;
}

uint32_t nnl_words_find(const nnl_words *words, const char *text, size_t length) {
    if (words->mask == 0) return NNL_NO_WORD;
    return slots_of(words)[slot_of(words, text, length, hash_of(text, length))];
}

static nnl_status grow(nnl_words *words) {
    nnl_bytes old = words->slots;
    size_t count = words->mask == 0 ? FIRST_SLOTS : ((size_t)words->mask + 1) * 2;
    words->slots = (nnl_bytes){.ctx = old.ctx};
    if (count > UINT32_MAX / 2 || nnl_bytes_reserve(&words->slots, count * sizeof(uint32_t)) != NNL_OK) {
        words->slots = old;
        return nnl_fail(old.ctx, NNL_ERR_MEMORY, "out of memory: no room for %zu words", count);
    }
    uint32_t mask = (uint32_t)count - 1, *slots = slots_of(words);
    memset(slots, 0xff, count * sizeof *slots);
    for (uint32_t i = 0; i <= words->mask && words->mask > 0; i++) {
        uint32_t number = ((const uint32_t *)(const void *)old.data)[i];
        if (number == NNL_NO_WORD) continue;
        uint32_t slot = entries_of(words)[number].hash & mask;
        while (slots[slot] != NNL_NO_WORD) slot = (slot + 1) & mask;
        slots[slot] = number;
    }
    words->mask = mask;
    nnl_bytes_free(&old);
    return NNL_OK;
}

static nnl_status append(nnl_words *words, const char *text, size_t length, uint32_t hash) {
    nnl_context *ctx = words->text.ctx;
    entry e = {.offset = words->text.length, .length = (uint32_t)length, .hash = hash};
    if (length >= UINT32_MAX || words->count == NNL_NO_WORD)
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "a word of %zu bytes is too long", length);
    if (nnl_bytes_reserve(&words->entries, sizeof e) != NNL_OK ||
        nnl_bytes_add(&words->text, text, length) != NNL_OK)
        return ctx->status;
    nnl_bytes_add(&words->entries, &e, sizeof e); // has room
    words->count++;
    return NNL_OK;
}

nnl_status nnl_words_add_hidden(nnl_words *words, const char *text, size_t length) {
    return append(words, text, length, 0);
}

nnl_status nnl_words_add(nnl_words *words, const char *text, size_t length, uint32_t *number) {
    if (words->count >= words->mask / 2 && grow(words) != NNL_OK) return words->text.ctx->status;
    uint32_t hash = hash_of(text, length), slot = slot_of(words, text, length, hash);
    *number = slots_of(words)[slot];
    if (*number != NNL_NO_WORD) return NNL_OK;
    if (append(words, text, length, hash) != NNL_OK) return words->text.ctx->status;
    slots_of(words)[slot] = *number = words->count - 1;
    return NNL_OK;
}

nnl_word nnl_words_get(const nnl_words *words, uint32_t number) {
    const entry *e = &entries_of(words)[number];
    return (nnl_word){.text = words->text.data + e->offset, .length = e->length};
}
