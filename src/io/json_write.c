// json_write.c: the JSON writer: compact, numbers in the fewest digits that read back as the same value.
#include "io/json.h"

#include "base/decimal.h"
#include "io/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void put(nnl_json_writer *w, const char *text, size_t length) {
    if (w->status == NNL_OK) w->status = nnl_bytes_add(w->out, text, length);
}

static void begin_item(nnl_json_writer *w) {
    if (w->comma) put(w, ",", 1);
    w->comma = true;
}

void nnl_json_open(nnl_json_writer *w, char bracket) {
    begin_item(w);
    put(w, &bracket, 1);
    w->comma = false;
}

void nnl_json_close(nnl_json_writer *w, char bracket) {
    put(w, &bracket, 1);
    w->comma = true;
}

// The escape that a byte needs, in `out`; its length, 0 where the byte needs none.
static size_t escape_of(char c, char out[8]) {
    static const char special[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = c ? strchr(special, c) : NULL;
    if (found) {
        out[0] = '\\';
        out[1] = letters[found - special];
        return 2;
    }
    if ((unsigned char)c >= 0x20) return 0;
    return (size_t)snprintf(out, 8, "\\u%04x", (unsigned)c);
}

static void put_quoted(nnl_json_writer *w, const char *text, size_t length) {
    const char *end = text + length, *plain = text;
    put(w, "\"", 1);
    for (const char *at = text; at < end && w->status == NNL_OK;) {
        size_t bytes = nnl_utf8_length(at, end);
        if (bytes == 0) {
            w->status = nnl_fail(w->out->ctx, NNL_ERR_ARGUMENT, "JSON: a string that is not UTF-8 (byte %zu)",
                                 (size_t)(at - text) + 1);
            return;
        }
        char escape[8];
        size_t escaped = escape_of(*at, escape);
        at += bytes;
        if (escaped == 0) continue;
        put(w, plain, (size_t)(at - plain) - 1);
        put(w, escape, escaped);
        plain = at;
    }
    put(w, plain, (size_t)(end - plain));
    put(w, "\"", 1);
}

void nnl_json_put_key(nnl_json_writer *w, const char *text, size_t length) {
    begin_item(w);
    put_quoted(w, text, length);
    put(w, ":", 1);
    w->comma = false;
}

void nnl_json_put_string(nnl_json_writer *w, const char *text, size_t length) {
    begin_item(w);
    put_quoted(w, text, length);
}

void nnl_json_put_integer(nnl_json_writer *w, int64_t integer) {
    char text[NNL_DECIMAL_TEXT];
    begin_item(w);
    put(w, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)integer));
}

// A whole number gets a ".0", so that it is not read as an integer.
void nnl_json_put_number(nnl_json_writer *w, double number) {
    if (w->status != NNL_OK) return;
    if (!isfinite(number)) {
        w->status =
            nnl_fail(w->out->ctx, NNL_ERR_ARGUMENT, "JSON has no %s", isnan(number) ? "NaN" : "infinity");
        return;
    }
    char text[NNL_DECIMAL_TEXT];
    size_t length = nnl_decimal_shortest(text, number);
    begin_item(w);
    put(w, text, length);
    if (!memchr(text, '.', length) && !memchr(text, 'e', length)) put(w, ".0", 2);
}

void nnl_json_put_word(nnl_json_writer *w, const char *word) {
    begin_item(w);
    put(w, word, strlen(word));
}
