// json.h: JSON (RFC 8259) over memory: a reader that gives one event at a time, takes no memory and does not
// recurse, and a writer into bytes. Strict: UTF-8 is checked, nothing beyond the standard is accepted.
#ifndef NNL_IO_JSON_H
#define NNL_IO_JSON_H

#include "io/bytes.h"

#include <stdbool.h>
#include <stdint.h>

#define NNL_JSON_DEPTH 128 // arrays and objects in each other, at most

typedef enum nnl_json_event {
    NNL_JSON_OBJECT,
    NNL_JSON_OBJECT_END,
    NNL_JSON_ARRAY,
    NNL_JSON_ARRAY_END,
    NNL_JSON_KEY, // the value follows
    NNL_JSON_STRING,
    NNL_JSON_INTEGER, // written as one, and within int64_t
    NNL_JSON_NUMBER,
    NNL_JSON_TRUE,
    NNL_JSON_FALSE,
    NNL_JSON_NULL,
    NNL_JSON_END,   // the text is over and was whole
    NNL_JSON_ERROR, // the context says what and where; nothing follows
} nnl_json_event;

typedef struct nnl_json_reader {
    nnl_context *ctx;
    const char *text, *at, *end; // borrowed
    int expect, depth;
    bool in_object[NNL_JSON_DEPTH + 1];

    // Of the last event, where it has them.
    const char *string; // what stands between the quotes
    size_t length;
    bool escaped; // there are escapes in it; without any, the string is the text itself
    int64_t integer;
    double number; // also of an integer
} nnl_json_reader;

void nnl_json_reader_init(nnl_json_reader *reader, nnl_context *ctx, const char *text, size_t length);
nnl_json_event nnl_json_next(nnl_json_reader *reader);

// The last key or string, escapes replaced, into `out` that has room for reader->length bytes; returns its
// length.
size_t nnl_json_string(const nnl_json_reader *reader, char *out);

// Record that the value of the last event is not what the caller wants, with its place in the text.
nnl_status nnl_json_refuse(nnl_json_reader *reader, const char *what);

// Writes into `out`. The first failure stays: whatever is put afterwards has no effect.
typedef struct nnl_json_writer {
    nnl_bytes *out; // borrowed
    nnl_status status;
    bool comma; // the next value in this array or object needs one before it
} nnl_json_writer;

void nnl_json_open(nnl_json_writer *writer, char bracket); // '[' or '{'
void nnl_json_close(nnl_json_writer *writer, char bracket);
void nnl_json_put_key(nnl_json_writer *writer, const char *text, size_t length);
void nnl_json_put_string(nnl_json_writer *writer, const char *text, size_t length);
void nnl_json_put_integer(nnl_json_writer *writer, int64_t integer);
void nnl_json_put_number(nnl_json_writer *writer, double number);  // reads back as the same bits
void nnl_json_put_word(nnl_json_writer *writer, const char *word); // true, false, null

#endif
