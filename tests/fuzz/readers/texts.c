// texts.c: JSON, tables, merges of tokenizers, and safetensors, whose header is JSON.
#include "data/bpe.h"
#include "io/csv.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "readers.h"

#include <stdlib.h>
#include <string.h>

// ---- JSON

static bool make_json(nnl_context *ctx, int variant, nnl_bytes *out) {
    static const char text[] =
        "{\"a\":[1,-2.5e3,true,null],\"b\\n\\ud83d\\ude00\":{\"\xc3\xa9\":\"x\\u0041\"},\"c\":[[],{}]}";
    (void)ctx;
    return variant == 0 && nnl_bytes_add(out, text, sizeof text - 1) == NNL_OK;
}

static nnl_status read_json(nnl_context *ctx, const char *data, size_t size) {
    nnl_json_reader reader;
    char *text = malloc(size + 1);
    nnl_json_reader_init(&reader, ctx, data, size);
    nnl_json_event event = text ? nnl_json_next(&reader) : NNL_JSON_END;
    while (event != NNL_JSON_END && event != NNL_JSON_ERROR) {
        if (event == NNL_JSON_KEY || event == NNL_JSON_STRING) nnl_json_string(&reader, text);
        event = nnl_json_next(&reader);
    }
    free(text);
    return event == NNL_JSON_ERROR ? ctx->status : NNL_OK;
}

// ---- safetensors

static bool make_safetensors(nnl_context *ctx, int variant, nnl_bytes *out) {
    static const char header[] = "{\"__metadata__\":{\"format\":\"nnlua\",\"k\\u00e9y\":\"v\"},"
                                 "\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                                 "\"n\":{\"dtype\":\"I16\",\"shape\":[],\"data_offsets\":[24,26]},"
                                 "\"mask\":{\"dtype\":\"BOOL\",\"shape\":[6],\"data_offsets\":[26,32]},"
                                 "\"empty\":{\"dtype\":\"F64\",\"shape\":[0,4],\"data_offsets\":[32,32]}}";
    static const char data[32];
    uint64_t length = sizeof header - 1;
    (void)ctx;
    return variant == 0 && nnl_bytes_add(out, &length, sizeof length) == NNL_OK &&
           nnl_bytes_add(out, header, length) == NNL_OK && nnl_bytes_add(out, data, sizeof data) == NNL_OK;
}

// What could be read must be whole: its bytes are looked at.
static nnl_status read_safetensors(nnl_context *ctx, const char *data, size_t size) {
    nnl_safetensors set;
    nnl_status status = nnl_safetensors_parse(ctx, data, size, &set);
    if (status != NNL_OK) return status;
    nnl_bytes again = {.ctx = ctx};
    status = nnl_safetensors_write(ctx, &set, &again);
    nnl_bytes_free(&again);
    nnl_safetensors_free(&set);
    return status;
}

// ---- tables

static bool make_csv(nnl_context *ctx, int variant, nnl_bytes *out) {
    static const char text[] =
        "x,\"y \"\"z\"\"\",kind\n1,2.5,a\n# no row\n-3,,\"b, c\"\r\n4,5e2,a\n\n6,7,\"\"\n";
    (void)ctx;
    return variant == 0 && nnl_bytes_add(out, text, sizeof text - 1) == NNL_OK;
}

static nnl_status read_csv(nnl_context *ctx, const char *data, size_t size) {
    nnl_csv csv;
    nnl_csv_options options = nnl_csv_defaults();
    options.comment = '#';
    options.dtype = size % 2 ? NNL_UINT8 : NNL_FLOAT32;
    nnl_status status = nnl_csv_parse(ctx, data, size, &options, &csv);
    if (status == NNL_OK) nnl_csv_free(&csv);
    return status;
}

// ---- merges.txt, for a tokenizer of all bytes and some more tokens

static bool make_merges(nnl_context *ctx, int variant, nnl_bytes *out) {
    static const char text[] = "#version: 0.2\n\xc4\xa0 t\nh e\n\xc4\xa0t he\ni n\ne r\nt h\nth er\n";
    (void)ctx;
    return variant == 0 && nnl_bytes_add(out, text, sizeof text - 1) == NNL_OK;
}

static nnl_status add_tokens(nnl_bpe *bpe) {
    static const char *const more[] = {" t", "he", " the", "in", "er", "th", "ther"};
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        if (nnl_bpe_add_token(bpe, &c, 1, true) != NNL_OK) return bpe->ctx->status;
    }
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        if (nnl_bpe_add_token(bpe, more[i], strlen(more[i]), true) != NNL_OK) return bpe->ctx->status;
    }
    return nnl_bpe_seal(bpe);
}

// Whatever the merges are, any bytes come back as they were.
static void bring_back(nnl_bpe *bpe, const char *data, size_t size) {
    nnl_bytes ids = {.ctx = bpe->ctx}, text = {.ctx = bpe->ctx};
    bool done = nnl_bpe_encode(bpe, data, size, true, &ids) == NNL_OK &&
                nnl_bpe_decode(bpe, (const int64_t *)(void *)ids.data, ids.length / sizeof(int64_t), true,
                               &text) == NNL_OK;
    if (done && (text.length != size || (size > 0 && memcmp(text.data, data, size) != 0))) abort();
    nnl_bytes_free(&ids);
    nnl_bytes_free(&text);
}

static nnl_status read_merges(nnl_context *ctx, const char *data, size_t size) {
    nnl_bpe *bpe = nnl_bpe_new(ctx, NNL_BPE_BYTES);
    if (!bpe) return ctx->status;
    bpe->rule = size % 2 ? NNL_SPLIT_GPT2 : NNL_SPLIT_GPT4;
    nnl_status status = add_tokens(bpe);
    if (status == NNL_OK) status = nnl_bpe_add_merges(bpe, data, size);
    if (status == NNL_OK) bring_back(bpe, data, size);
    nnl_bpe_free(bpe);
    return status;
}

const fuzz_reader fuzz_texts[] = {
    {.name = "JSON",
     .words = "{}[]\",:\\u09-e.",
     .suffix = ".json",
     .make = make_json,
     .read = read_json,
     .ends = true},
    {.name = "safetensors",
     .words = "{}[]\",:0189-",
     .suffix = ".safetensors",
     .make = make_safetensors,
     .read = read_safetensors,
     .ends = true},
    {.name = "merges",
     .words = "the in\n\r#\xc4\xa0",
     .suffix = ".txt .bpe",
     .make = make_merges,
     .read = read_merges},
    {.name = "tables", .words = ",\"\n\r#0-e.", .suffix = ".csv .tsv", .make = make_csv, .read = read_csv},
    {.name = NULL},
};
