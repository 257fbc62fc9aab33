// npy.c: one array: a header in Python's words, then the elements (NumPy Enhancement Proposal 1, versions 1
// to 3). See npz.c for several.
#include "io/npy.h"

#include "io/elements.h"
#include "io/file.h"
#include "tensor/apply.h"

#include <stdio.h>
#include <string.h>

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6
#define HEADER_LIMIT ((uint32_t)1 << 20) // NumPy itself reads no more than 10,000 unless asked to
#define ALIGNMENT 64
#define LARGE ((size_t)1 << 20) // files from here on are mapped

typedef struct header {
    nnl_elements elements;
    bool fortran, has_descr, has_order, has_shape;
    nnl_shape shape;
} header;

typedef struct scan {
    nnl_context *ctx;
    const char *at, *end;
} scan;

// ---- the header's text: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }

static nnl_status damaged(const scan *s, const char *what) {
    return nnl_fail(s->ctx, NNL_ERR_IO, "damaged .npy header: %s", what);
}

static void skip_space(scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r')) s->at++;
}

// Whether this character comes next; then it is passed.
static bool take(scan *s, char c) {
    skip_space(s);
    if (s->at == s->end || *s->at != c) return false;
    s->at++;
    return true;
}

static bool take_word(scan *s, const char *word) {
    size_t length = strlen(word);
    skip_space(s);
    if ((size_t)(s->end - s->at) < length || memcmp(s->at, word, length) != 0) return false;
    s->at += length;
    return true;
}

// What stands between two quotes.
static bool take_string(scan *s, const char **text, size_t *length) {
    char quote = take(s, '\'') ? '\'' : take(s, '"') ? '"' : '\0';
    const char *close = quote ? memchr(s->at, quote, (size_t)(s->end - s->at)) : NULL;
    if (!close) return false;
    *text = s->at;
    *length = (size_t)(close - s->at);
    s->at = close + 1;
    return true;
}

// Old versions wrote a number as 3L.
static bool take_size(scan *s, int64_t *size) {
    skip_space(s);
    const char *start = s->at;
    for (*size = 0; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++) {
        if (__builtin_mul_overflow(*size, 10, size) || __builtin_add_overflow(*size, *s->at - '0', size))
            return false;
    }
    bool any = s->at > start;
    if (s->at < s->end && *s->at == 'L') s->at++;
    return any;
}

static nnl_status unsupported(const scan *s, const char *descr, size_t length) {
    static const char *const words[] = {"ccomplex numbers",      "OPython objects", "Stext", "atext", "Utext",
                                        "Vrecords or raw bytes", "Mdates",          "mtimes"};
    const char *what = "no dtype here can hold them";
    for (size_t i = 0; length > 1 && i < sizeof words / sizeof *words; i++) {
        if (descr[1] == words[i][0]) what = words[i] + 1;
    }
    return nnl_fail(s->ctx, NNL_ERR_IO, "elements '%.*s' cannot be read: %s", length < 40 ? (int)length : 40,
                    descr, what);
}

// '<f4': order of bytes, kind, size.
static bool find_elements(const char *descr, size_t length, nnl_elements *elements) {
    static const char kinds[] = {'i', 'u', 'f', 'b'};
    static const nnl_element_kind found[] = {NNL_ELEMENT_SIGNED, NNL_ELEMENT_UNSIGNED, NNL_ELEMENT_FLOAT,
                                             NNL_ELEMENT_BOOL};
    if (length != 3 || !memchr("<>|=", descr[0], 4) || descr[2] < '1' || descr[2] > '8') return false;
    const char *kind = memchr(kinds, descr[1], sizeof kinds);
    return kind &&
           nnl_elements_find(elements, found[kind - kinds], (size_t)(descr[2] - '0'), descr[0] == '>');
}

static nnl_status read_descr(scan *s, header *h) {
    const char *descr;
    size_t length;
    h->has_descr = true;
    if (take(s, '[')) return nnl_fail(s->ctx, NNL_ERR_IO, "structured arrays cannot be read");
    if (!take_string(s, &descr, &length)) return damaged(s, "descr is no string");
    if (!find_elements(descr, length, &h->elements)) return unsupported(s, descr, length);
    return NNL_OK;
}

static nnl_status read_order(scan *s, header *h) {
    h->has_order = true;
    h->fortran = take_word(s, "True");
    return h->fortran || take_word(s, "False") ? NNL_OK
                                               : damaged(s, "fortran_order is neither True nor False");
}

static nnl_status read_shape(scan *s, header *h) {
    h->has_shape = true;
    h->shape.ndim = 0;
    if (!take(s, '(')) return damaged(s, "shape is no tuple");
    while (!take(s, ')')) {
        if (h->shape.ndim == NNL_MAX_DIMS)
            return nnl_fail(s->ctx, NNL_ERR_IO, "more than %d dimensions", NNL_MAX_DIMS);
        if (!take_size(s, &h->shape.size[h->shape.ndim++])) return damaged(s, "a size is no number");
        if (!take(s, ',') && s->at < s->end && *s->at != ')') return damaged(s, "shape is no tuple");
    }
    return NNL_OK;
}

static nnl_status read_item(scan *s, header *h) {
    const char *key;
    size_t length;
    if (!take_string(s, &key, &length) || !take(s, ':')) return damaged(s, "no name where one should be");
    if (length == 5 && memcmp(key, "descr", 5) == 0) return read_descr(s, h);
    if (length == 13 && memcmp(key, "fortran_order", 13) == 0) return read_order(s, h);
    if (length == 5 && memcmp(key, "shape", 5) == 0) return read_shape(s, h);
    return damaged(s, "an unknown name");
}

static nnl_status read_text(nnl_context *ctx, const char *text, size_t length, header *h) {
    scan s = {ctx, text, text + length};
    if (!take(&s, '{')) return damaged(&s, "no dictionary");
    while (!take(&s, '}')) {
        if (read_item(&s, h) != NNL_OK) return ctx->status;
        if (!take(&s, ',') && s.at < s.end && *s.at != '}') return damaged(&s, "no comma behind a value");
    }
    skip_space(&s);
    if (s.at < s.end) return damaged(&s, "text behind its end");
    if (h->has_descr && h->has_order && h->has_shape) return NNL_OK;
    return damaged(&s, "descr, fortran_order or shape is missing");
}

static nnl_status read_length(nnl_source *source, uint32_t *length) {
    unsigned char start[MAGIC_BYTES + 2], bytes[4] = {0};
    nnl_context *ctx = source->ctx;
    if (nnl_source_read(source, start, sizeof start) != NNL_OK) return ctx->status;
    if (memcmp(start, MAGIC, MAGIC_BYTES) != 0) return nnl_fail(ctx, NNL_ERR_IO, "no .npy file");
    if (start[MAGIC_BYTES] < 1 || start[MAGIC_BYTES] > 3)
        return nnl_fail(ctx, NNL_ERR_IO, ".npy of version %d, known are 1 to 3", start[MAGIC_BYTES]);
    if (nnl_source_read(source, bytes, start[MAGIC_BYTES] == 1 ? 2 : 4) != NNL_OK) return ctx->status;
    *length = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    if (*length > HEADER_LIMIT || *length > nnl_source_most(source))
        return nnl_fail(ctx, NNL_ERR_IO, "damaged .npy header: a length of %lu", (unsigned long)*length);
    return NNL_OK;
}

static nnl_status read_header(nnl_source *source, header *h) {
    uint32_t length = 0;
    nnl_bytes text = {.ctx = source->ctx};
    *h = (header){.fortran = false};
    if (read_length(source, &length) != NNL_OK) return source->ctx->status;
    nnl_status status = nnl_bytes_reserve(&text, length);
    if (status == NNL_OK) status = nnl_source_read(source, text.data, length);
    if (status == NNL_OK) status = read_text(source->ctx, text.data, length, h);
    nnl_bytes_free(&text);
    return status;
}

// ---- the elements

static nnl_shape reversed(const nnl_shape *shape) {
    nnl_shape back = {.ndim = shape->ndim};
    for (int d = 0; d < shape->ndim; d++) back.size[d] = shape->size[shape->ndim - 1 - d];
    return back;
}

// From the first dimension innermost to the last innermost: a copy, in the place of *t.
static nnl_status from_fortran(const nnl_shape *shape, nnl_tensor **t) {
    int64_t stride[NNL_MAX_DIMS] = {0};
    for (int d = 0; d < shape->ndim; d++) stride[d] = (*t)->stride[shape->ndim - 1 - d];
    nnl_context *ctx = (*t)->ctx;
    nnl_tensor *turned = nnl_tensor_alias(*t, shape, stride, 0);
    nnl_tensor *copy = turned ? nnl_tensor_new(ctx, turned->dtype, shape) : NULL;
    if (copy) nnl_apply_copy(copy, turned);
    nnl_tensor_release(turned);
    nnl_tensor_release(*t);
    *t = copy;
    return copy ? NNL_OK : ctx->status;
}

static nnl_status read_elements(nnl_source *source, const header *h, nnl_tensor **out) {
    bool turn = h->fortran && h->shape.ndim > 1;
    nnl_shape shape = turn ? reversed(&h->shape) : h->shape;
    nnl_status status = nnl_elements_load(source, &h->elements, &shape, out);
    return status == NNL_OK && turn ? from_fortran(&h->shape, out) : status;
}

nnl_status nnl_npy_read(nnl_source *source, nnl_tensor **out) {
    header h;
    if (read_header(source, &h) != NNL_OK) return source->ctx->status;
    return read_elements(source, &h, out);
}

nnl_tensor *nnl_npy_parse(nnl_context *ctx, const char *data, size_t size) {
    nnl_source source;
    nnl_tensor *t = NULL;
    if (nnl_source_open(&source, ctx, data, size, NNL_PLAIN) != NNL_OK) return NULL;
    return nnl_npy_read(&source, &t) == NNL_OK ? t : NULL;
}

// ---- files

static bool can_map(const nnl_source *source, const header *h) {
    size_t left = (size_t)(source->end - source->at);
    if (!nnl_elements_native(&h->elements) || (h->fortran && h->shape.ndim > 1)) return false;
    if (nnl_shape_check(source->ctx, "", &h->shape, h->elements.size) != NNL_OK) return false;
    bool whole = (uint64_t)nnl_shape_numel(&h->shape) * h->elements.size == left;
    return whole && left > 0 && (uintptr_t)source->at % h->elements.size == 0;
}

static nnl_status map_elements(const nnl_source *source, const header *h, nnl_mapping *mapping,
                               nnl_tensor **out) {
    char *data = mapping->data + (source->at - mapping->data);
    *out = nnl_tensor_over(source->ctx, h->elements.dtype, &h->shape, data, nnl_mapping_release, mapping);
    if (*out) mapping->refs++;
    return *out ? NNL_OK : source->ctx->status;
}

static nnl_status load(nnl_context *ctx, nnl_mapping *mapping, bool map, nnl_tensor **out) {
    header h;
    nnl_source source;
    if (nnl_source_open(&source, ctx, mapping->data, mapping->size, NNL_PLAIN) != NNL_OK ||
        read_header(&source, &h) != NNL_OK)
        return ctx->status;
    return map && can_map(&source, &h) ? map_elements(&source, &h, mapping, out)
                                       : read_elements(&source, &h, out);
}

nnl_tensor *nnl_npy_load(nnl_context *ctx, const char *path, nnl_map_choice map) {
    nnl_tensor *t = NULL;
    nnl_mapping *mapping = nnl_mapping_new(ctx, path);
    if (!mapping) return NULL;
    bool mapped = map == NNL_MAP_ALWAYS || (map == NNL_MAP_LARGE && mapping->size >= LARGE);
    if (load(ctx, mapping, mapped, &t) != NNL_OK) nnl_file_blame(ctx, path);
    nnl_mapping_release(mapping);
    return t;
}

// ---- writing

static const char *descr_of(nnl_dtype dtype) {
    switch (dtype) {
    case NNL_FLOAT32:
        return "<f4";
    case NNL_FLOAT64:
        return "<f8";
    case NNL_FLOAT16:
        return "<f2";
    case NNL_INT64:
        return "<i8";
    case NNL_INT32:
        return "<i4";
    case NNL_UINT8:
        return "|u1";
    case NNL_BOOL:
        return "|b1";
    default:
        return NULL;
    }
}

nnl_status nnl_npy_header(const nnl_tensor *t, nnl_bytes *out) {
    char text[512];
    int length =
        snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr_of(t->dtype));
    for (int d = 0; d < t->shape.ndim; d++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s%lld%s", d > 0 ? " " : "",
                           (long long)t->shape.size[d], d + 1 < t->shape.ndim || d == 0 ? "," : "");
    length += snprintf(text + length, sizeof text - (size_t)length, "), }");
    while ((MAGIC_BYTES + 4 + length + 1) % ALIGNMENT != 0) text[length++] = ' ';
    text[length++] = '\n';
    char start[] = {1, 0, (char)(length & 0xff), (char)(length >> 8)};
    if (nnl_bytes_add(out, MAGIC, MAGIC_BYTES) != NNL_OK || nnl_bytes_add(out, start, sizeof start) != NNL_OK)
        return out->ctx->status;
    return nnl_bytes_add(out, text, (size_t)length);
}

nnl_tensor *nnl_npy_form(const nnl_tensor *t) {
    nnl_dtype dtype = descr_of(t->dtype) ? t->dtype : NNL_FLOAT32;
    if (dtype == t->dtype && nnl_tensor_is_contiguous(t)) return nnl_tensor_detach(t);
    nnl_tensor *copy = nnl_tensor_new(t->ctx, dtype, &t->shape);
    if (copy) nnl_apply_copy(copy, t);
    return copy;
}

static nnl_status save(nnl_context *ctx, const char *path, const nnl_bytes *head, const nnl_tensor *t) {
    nnl_file file;
    size_t size = (size_t)nnl_tensor_numel(t) * nnl_dtype_size(t->dtype);
    if (nnl_file_create(&file, ctx, path) != NNL_OK) return ctx->status;
    if (nnl_file_write(&file, head->data, head->length) == NNL_OK &&
        nnl_file_write(&file, nnl_tensor_data(t), size) == NNL_OK)
        return nnl_file_commit(&file);
    nnl_file_discard(&file);
    return ctx->status;
}

nnl_status nnl_npy_save(nnl_context *ctx, const char *path, const nnl_tensor *t) {
    nnl_bytes head = {.ctx = ctx};
    nnl_tensor *form = nnl_npy_form(t);
    nnl_status status = form ? nnl_npy_header(form, &head) : ctx->status;
    if (status == NNL_OK) status = save(ctx, path, &head, form);
    nnl_bytes_free(&head);
    nnl_tensor_release(form);
    return status;
}
