// safetensors_write.c: writing: a header padded to eight bytes, then the elements of each tensor in turn. The
// same tensors and text always make the same bytes.
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "tensor/apply.h"

#include <stdlib.h>
#include <string.h>

#define LENGTH_BYTES 8
#define ALIGNMENT 8

// Where the bytes go: a file, or memory where there is none.
typedef struct sink {
    nnl_file *file;
    nnl_bytes *out;
} sink;

static nnl_status put(const sink *s, const void *data, size_t size) {
    return s->file ? nnl_file_write(s->file, data, size) : nnl_bytes_add(s->out, data, size);
}

static size_t bytes_of(const nnl_tensor *t) { return (size_t)nnl_tensor_numel(t) * nnl_dtype_size(t->dtype); }

static int by_name(const void *a, const void *b) {
    const nnl_named_tensor *x = a, *y = b;
    size_t shared = x->name_length < y->name_length ? x->name_length : y->name_length;
    int order = memcmp(x->name, y->name, shared);
    return order != 0 ? order : (x->name_length > y->name_length) - (x->name_length < y->name_length);
}

void nnl_safetensors_sort(nnl_safetensors *set) {
    if (set->count > 0) qsort(set->tensors, set->count, sizeof *set->tensors, by_name);
}

static nnl_status check_names(nnl_context *ctx, const nnl_safetensors *set) {
    nnl_bytes copy = {.ctx = ctx};
    if (nnl_bytes_add(&copy, set->tensors, set->count * sizeof *set->tensors) != NNL_OK) return ctx->status;
    nnl_safetensors sorted = {.tensors = (nnl_named_tensor *)copy.data, .count = set->count};
    nnl_safetensors_sort(&sorted);
    nnl_status status = NNL_OK;
    for (size_t i = 0; i < set->count && status == NNL_OK; i++) {
        const nnl_named_tensor *t = &sorted.tensors[i];
        if (t->name_length == strlen("__metadata__") && memcmp(t->name, "__metadata__", t->name_length) == 0)
            status = nnl_fail(ctx, NNL_ERR_ARGUMENT, "a tensor cannot be called __metadata__");
        else if (i > 0 && by_name(t - 1, t) == 0)
            status = nnl_fail(ctx, NNL_ERR_ARGUMENT, "tensor '%.80s' is there twice", t->name);
    }
    nnl_bytes_free(&copy);
    return status;
}

static void put_metadata(nnl_json_writer *w, const nnl_safetensors *set) {
    if (set->metadata_count == 0) return;
    nnl_json_put_key(w, "__metadata__", strlen("__metadata__"));
    nnl_json_open(w, '{');
    for (size_t i = 0; i < set->metadata_count; i++) {
        const nnl_metadata *m = &set->metadata[i];
        nnl_json_put_key(w, m->key, m->key_length);
        nnl_json_put_string(w, m->value, m->value_length);
    }
    nnl_json_close(w, '}');
}

static void put_key(nnl_json_writer *w, const char *key) { nnl_json_put_key(w, key, strlen(key)); }

static void put_description(nnl_json_writer *w, const nnl_named_tensor *named, size_t begin) {
    const nnl_tensor *t = named->tensor;
    const char *dtype = nnl_dtype_get(t->dtype)->safetensors;
    nnl_json_put_key(w, named->name, named->name_length);
    nnl_json_open(w, '{');
    put_key(w, "dtype");
    nnl_json_put_string(w, dtype, strlen(dtype));
    put_key(w, "shape");
    nnl_json_open(w, '[');
    for (int d = 0; d < t->shape.ndim; d++) nnl_json_put_integer(w, t->shape.size[d]);
    nnl_json_close(w, ']');
    put_key(w, "data_offsets");
    nnl_json_open(w, '[');
    nnl_json_put_integer(w, (int64_t)begin);
    nnl_json_put_integer(w, (int64_t)(begin + bytes_of(t)));
    nnl_json_close(w, ']');
    nnl_json_close(w, '}');
}

// The length and the JSON, with spaces behind it so that the data begins aligned.
static nnl_status make_header(const nnl_safetensors *set, nnl_bytes *header) {
    static const char spaces[] = "        ";
    nnl_json_writer w = {.out = header};
    w.status = nnl_bytes_add(header, spaces, LENGTH_BYTES);
    nnl_json_open(&w, '{');
    put_metadata(&w, set);
    size_t begin = 0;
    for (size_t i = 0; i < set->count; i++) {
        put_description(&w, &set->tensors[i], begin);
        begin += bytes_of(set->tensors[i].tensor);
    }
    nnl_json_close(&w, '}');
    size_t padding = (ALIGNMENT - header->length % ALIGNMENT) % ALIGNMENT;
    if (w.status != NNL_OK || nnl_bytes_add(header, spaces, padding) != NNL_OK) return header->ctx->status;
    uint64_t length = header->length - LENGTH_BYTES;
    memcpy(header->data, &length, LENGTH_BYTES);
    return NNL_OK;
}

static nnl_status put_elements(const sink *s, const nnl_tensor *t) {
    if (nnl_tensor_is_contiguous(t)) return put(s, nnl_tensor_data(t), bytes_of(t));
    nnl_tensor *copy = nnl_tensor_new(t->ctx, t->dtype, &t->shape);
    if (!copy) return t->ctx->status;
    nnl_apply_copy(copy, t);
    nnl_status status = put(s, nnl_tensor_data(copy), bytes_of(t));
    nnl_tensor_release(copy);
    return status;
}

static nnl_status put_all(const sink *s, const nnl_bytes *header, const nnl_safetensors *set) {
    nnl_status status = put(s, header->data, header->length);
    for (size_t i = 0; i < set->count && status == NNL_OK; i++)
        status = put_elements(s, set->tensors[i].tensor);
    return status;
}

nnl_status nnl_safetensors_write(nnl_context *ctx, const nnl_safetensors *set, nnl_bytes *out) {
    if (check_names(ctx, set) != NNL_OK) return ctx->status;
    nnl_bytes header = {.ctx = ctx};
    nnl_status status = make_header(set, &header);
    if (status == NNL_OK) status = put_all(&(sink){.out = out}, &header, set);
    nnl_bytes_free(&header);
    return status;
}

static nnl_status save_under(nnl_context *ctx, const char *path, const nnl_bytes *header,
                             const nnl_safetensors *set) {
    nnl_file file;
    if (nnl_file_create(&file, ctx, path) != NNL_OK) return ctx->status;
    nnl_status status = put_all(&(sink){.file = &file}, header, set);
    if (status == NNL_OK) return nnl_file_commit(&file);
    nnl_file_discard(&file);
    return status;
}

nnl_status nnl_safetensors_save(nnl_context *ctx, const char *path, const nnl_safetensors *set) {
    if (check_names(ctx, set) != NNL_OK) return ctx->status;
    nnl_bytes header = {.ctx = ctx};
    nnl_status status = make_header(set, &header);
    if (status == NNL_OK) status = save_under(ctx, path, &header, set);
    nnl_bytes_free(&header);
    return status;
}
