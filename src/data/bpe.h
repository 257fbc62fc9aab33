// bpe.h: byte pair encoding (Sennrich et al. 2016) over bytes as GPT-2 does it (Radford et al. 2019), or over
// characters with bytes to fall back on, as SentencePiece does it for Llama. Ids begin with 1.
#ifndef NNL_DATA_BPE_H
#define NNL_DATA_BPE_H

#include "data/split.h"
#include "data/words.h"

typedef enum nnl_bpe_kind {
    NNL_BPE_BYTES,      // a token's text is in GPT-2's letters for bytes; splits by a rule
    NNL_BPE_CHARACTERS, // U+2581 stands for a blank, <0x41> for a byte; nothing is split
    NNL_BPE_PIECES,     // each piece is a token as it is, or unknown: vocabularies of words and characters
} nnl_bpe_kind;

// A token that is found in text before anything else is looked at.
typedef struct nnl_bpe_special {
    uint32_t id;
    bool strips_left, strips_right; // takes the white space beside it
    bool shown;                     // not left out where a decoder leaves out special tokens
} nnl_bpe_special;

typedef struct nnl_bpe {
    nnl_context *ctx; // retained
    nnl_bpe_kind kind;
    nnl_split_rule rule;
    uint32_t digits;  // see nnl_split
    uint32_t unknown; // the id of what has no token; 0: an error
    bool prefix;      // a blank before all text, as if it were in the middle of a sentence
    bool whole;       // a piece that is a token is that token, whatever the merges make of it
    nnl_words tokens; // number id - 1: its bytes
    nnl_bytes merges; // the table that finds a merge by its pair (bpe.c)
    uint32_t merge_count, merge_mask;
    nnl_bytes merge_list; // pairs of ids in the order of their ranks
    uint32_t byte_ids[256];
    nnl_bytes specials; // nnl_bpe_special, the longest first
    bool special_first[256];
    nnl_words known; // pieces that were met, and where their ids are
    nnl_bytes known_ids, known_at;
    nnl_bytes scratch, heap, prefixed; // of one piece
} nnl_bpe;

// Returns new, without tokens; NULL with the context's error.
nnl_bpe *nnl_bpe_new(nnl_context *ctx, nnl_bpe_kind kind);
void nnl_bpe_free(nnl_bpe *bpe); // NULL is allowed

// The next token, its text as files of this kind write it, or as it is where `plain`. Text NULL: an id of
// nothing.
nnl_status nnl_bpe_add_token(nnl_bpe *bpe, const char *text, size_t length, bool plain);
nnl_status nnl_bpe_add_special(nnl_bpe *bpe, nnl_bpe_special special);
// Once all tokens are there.
nnl_status nnl_bpe_seal(nnl_bpe *bpe);
// The next best merge, of tokens that are there and make one that is there.
nnl_status nnl_bpe_add_merge(nnl_bpe *bpe, nnl_word left, nnl_word right);
nnl_status nnl_bpe_add_merge_ids(nnl_bpe *bpe, uint32_t left, uint32_t right, uint32_t merged);
// Of merges.txt: two texts a line, after lines that begin with #version.
nnl_status nnl_bpe_add_merges(nnl_bpe *bpe, const char *text, size_t length);

// The id of these bytes; 0 where they are no token.
uint32_t nnl_bpe_id(const nnl_bpe *bpe, const char *bytes, size_t length);
static inline nnl_word nnl_bpe_token(const nnl_bpe *bpe, uint32_t id) {
    return nnl_words_get(&bpe->tokens, id - 1);
}
static inline uint32_t nnl_bpe_size(const nnl_bpe *bpe) { return bpe->tokens.count; }
// Rank `place`, from 0.
void nnl_bpe_merge(const nnl_bpe *bpe, uint32_t place, uint32_t *left, uint32_t *right);
// The special token of this id, or NULL.
const nnl_bpe_special *nnl_bpe_find_special(const nnl_bpe *bpe, uint32_t id);

// For one pair: its rank, or NNL_NO_WORD, and the token that it makes.
uint32_t nnl_bpe_rank(const nnl_bpe *bpe, uint32_t left, uint32_t right, uint32_t *merged);

// Ids as int64_t behind what `out` holds. Special tokens in the text are such where `specials`, else plain
// text.
nnl_status nnl_bpe_encode(nnl_bpe *bpe, const char *text, size_t length, bool specials, nnl_bytes *out);
// Bytes of tokens behind what `out` holds.
nnl_status nnl_bpe_decode(const nnl_bpe *bpe, const int64_t *ids, size_t count, bool specials,
                          nnl_bytes *out);

// ---- GPT-2's letters: one character for each byte, so that tokens can be written in text files
nnl_status nnl_alphabet_write(nnl_bytes *out, const char *bytes, size_t length);
// `read` is false where a character is none of them; `out` then holds as much as before.
nnl_status nnl_alphabet_read(nnl_bytes *out, const char *text, size_t length, bool *read);
// The bytes in the order in which the letters stand for them.
void nnl_alphabet_order(uint8_t order[256]);

// ---- training
typedef struct nnl_bpe_trainer {
    nnl_context *ctx; // retained
    nnl_split_rule rule;
    uint32_t digits;
    nnl_words words;  // pieces of what was added
    nnl_bytes counts; // how often each came, int64_t
} nnl_bpe_trainer;

typedef struct nnl_bpe_training {
    uint32_t vocab_size; // tokens at the end, at most
    int64_t min_frequency;
    size_t max_length; // bytes of a token, at most; 0: any
} nnl_bpe_training;

nnl_bpe_trainer *nnl_bpe_trainer_new(nnl_context *ctx, nnl_split_rule rule, uint32_t digits);
void nnl_bpe_trainer_free(nnl_bpe_trainer *trainer);
nnl_status nnl_bpe_trainer_add(nnl_bpe_trainer *trainer, const char *text, size_t length);
// Tokens and merges into `bpe`, which is of bytes and has those that all text is made of, sealed. The most
// frequent pair is merged first; of equally frequent ones that with the lower ids.
nnl_status nnl_bpe_train(const nnl_bpe_trainer *trainer, const nnl_bpe_training *how, nnl_bpe *bpe);

#endif
