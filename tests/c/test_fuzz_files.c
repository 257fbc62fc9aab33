// test_fuzz_files.c: thousands of damaged files: each is read or refused with a message, and nothing leaks.
// The changes are always the same ones.
#include "../fuzz/mutate.h"
#include "check.h"
#include "io/csv.h"
#include "io/json.h"
#include "io/safetensors.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS 50000
#define CAPACITY 1024

typedef nnl_status read_fn(nnl_context *ctx, const char *data, size_t size);

static nnl_status read_json(nnl_context *ctx, const char *data, size_t size) {
    nnl_json_reader reader;
    char text[CAPACITY];
    nnl_json_reader_init(&reader, ctx, data, size);
    for (;;) {
        nnl_json_event event = nnl_json_next(&reader);
        if (event == NNL_JSON_END) return NNL_OK;
        if (event == NNL_JSON_ERROR) return ctx->status;
        if (event == NNL_JSON_KEY || event == NNL_JSON_STRING) nnl_json_string(&reader, text);
    }
}

// What could be read must be whole: its bytes are looked at.
static nnl_status read_safetensors(nnl_context *ctx, const char *data, size_t size) {
    nnl_safetensors set;
    nnl_status status = nnl_safetensors_parse(ctx, data, size, &set);
    if (status != NNL_OK) return status;
    nnl_bytes again = {.ctx = ctx};
    CHECK_MESSAGE(nnl_safetensors_write(ctx, &set, &again) == NNL_OK, "%s", ctx->error);
    nnl_bytes_free(&again);
    nnl_safetensors_free(&set);
    return NNL_OK;
}

static nnl_status read_csv(nnl_context *ctx, const char *data, size_t size) {
    nnl_csv csv;
    nnl_csv_options options = nnl_csv_defaults();
    options.comment = '#';
    options.dtype = size % 2 ? NNL_FLOAT32 : NNL_UINT8;
    nnl_status status = nnl_csv_parse(ctx, data, size, &options, &csv);
    if (status == NNL_OK) nnl_csv_free(&csv);
    return status;
}

// Each text lies in memory of just its size, so that a tool that watches memory sees a byte read beyond it.
static void fuzz(nnl_context *ctx, const char *original, size_t size, const char *words, read_fn *read) {
    mutator m = {.state = 42, .words = words};
    char data[CAPACITY];
    int good = 0, bad = 0;
    for (int i = 0; i < ROUNDS; i++) {
        size_t length = mutate(&m, original, size, data, sizeof data);
        char *exact = malloc(length ? length : 1);
        if (!exact) return;
        memcpy(exact, data, length);
        nnl_error_clear(ctx);
        nnl_status status = read(ctx, exact, length);
        free(exact);
        good += status == NNL_OK;
        bad += status != NNL_OK;
        CHECK_MESSAGE(status == NNL_OK || ctx->error[0], "round %d: no message", i);
        CHECK_MESSAGE(ctx->allocator.stats.live == 0, "round %d leaks", i);
    }
    CHECK_MESSAGE(good > ROUNDS / 200 && bad > ROUNDS / 5, "%d read, %d refused", good, bad);
}

static void fuzz_safetensors(nnl_context *ctx) {
    static const char header[] = "{\"__metadata__\":{\"format\":\"nnlua\",\"k\\u00e9y\":\"v\"},"
                                 "\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                                 "\"n\":{\"dtype\":\"I16\",\"shape\":[],\"data_offsets\":[24,26]},"
                                 "\"mask\":{\"dtype\":\"BOOL\",\"shape\":[6],\"data_offsets\":[26,32]},"
                                 "\"empty\":{\"dtype\":\"F64\",\"shape\":[0,4],\"data_offsets\":[32,32]}}";
    char file[CAPACITY] = {0};
    uint64_t length = sizeof header - 1;
    memcpy(file, &length, sizeof length);
    memcpy(file + 8, header, length);
    fuzz(ctx, file, 8 + length + 32, "{}[]\",:0189-", read_safetensors);
}

int main(void) {
    nnl_context *ctx = nnl_context_new();
    static const char json[] =
        "{\"a\":[1,-2.5e3,true,null],\"b\\n\\ud83d\\ude00\":{\"\xc3\xa9\":\"x\\u0041\"},\"c\":[[],{}]}";
    static const char csv[] =
        "x,\"y \"\"z\"\"\",kind\n1,2.5,a\n# no row\n-3,,\"b, c\"\r\n4,5e2,a\n\n6,7,\"\"\n";
    check_that("damaged JSON is read or refused");
    fuzz(ctx, json, sizeof json - 1, "{}[]\",:\\u09-e.", read_json);
    check_that("damaged safetensors files are read or refused");
    fuzz_safetensors(ctx);
    check_that("damaged tables are read or refused");
    fuzz(ctx, csv, sizeof csv - 1, ",\"\n\r#0-e.", read_csv);
    nnl_context_release(ctx);
    return check_end();
}
