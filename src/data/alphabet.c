// alphabet.c: the letters in which GPT-2's files write bytes: what is printable in Latin-1 stands for itself,
// the others, in their order, are the characters from U+0100 on.
#include "data/bpe.h"

#include "io/utf8.h"

#define FIRST 0x100u
#define HIDDEN 68 // bytes that are not printable

static bool printable(unsigned byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
}

void nnl_alphabet_order(uint8_t order[256]) {
    int place = 0;
    for (int shown = 1; shown >= 0; shown--) {
        for (unsigned byte = 0; byte < 256; byte++) {
            if (printable(byte) == (bool)shown) order[place++] = (uint8_t)byte;
        }
    }
}

// The place of a byte among those that are not printable: 0 to 32, 127 to 160, 173.
static unsigned hidden_place(unsigned byte) {
    if (byte <= 32) return byte;
    return byte == 0xad ? HIDDEN - 1 : byte - 127 + 33;
}

static unsigned hidden_byte(unsigned place) {
    if (place <= 32) return place;
    return place == HIDDEN - 1 ? 0xad : place - 33 + 127;
}

nnl_status nnl_alphabet_write(nnl_bytes *out, const char *bytes, size_t length) {
    if (nnl_bytes_reserve(out, 2 * length) != NNL_OK) return out->ctx->status;
    for (size_t i = 0; i < length; i++) {
        unsigned byte = (uint8_t)bytes[i];
        out->length +=
            nnl_utf8_write(out->data + out->length, printable(byte) ? byte : FIRST + hidden_place(byte));
    }
    return NNL_OK;
}

nnl_status nnl_alphabet_read(nnl_bytes *out, const char *text, size_t length, bool *read) {
    const char *end = text + length;
    size_t start = out->length;
    *read = true;
    if (nnl_bytes_reserve(out, length) != NNL_OK) return out->ctx->status;
    while (text < end && *read) {
        nnl_char c = nnl_char_at(text, end);
        bool hidden = c.code >= FIRST && c.code < FIRST + HIDDEN;
        *read = hidden || (c.code < FIRST && printable(c.code));
        out->data[out->length++] = (char)(hidden ? hidden_byte(c.code - FIRST) : c.code);
        text += c.length;
    }
    if (!*read) out->length = start;
    return NNL_OK;
}
