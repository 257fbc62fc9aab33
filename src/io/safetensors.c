// safetensors.c: reading: the header is parsed and all of it checked against the size of the data before the
// first tensor is made. See safetensors_write.c for writing.
#include "io/safetensors.h"

#include "io/elements.h"
#include "io/file.h"
#include "io/json.h"

#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files hold little-endian elements, which are read here as they are"
#endif

#define LENGTH_BYTES 8
#define HEADER_LIMIT ((uint64_t)100000000)
#define QUOTED 80 // bytes of a name or word of a file that a message repeats, at most

// A dtype as a file spells it.
typedef struct file_dtype {
    const char *name;
    nnl_element_kind kind;
    size_t size;
} file_dtype;

typedef struct entry {
    const char *name;
    size_t name_length, position, begin, end;
    nnl_elements elements;
    nnl_shape shape;
} entry;

typedef struct loader {
    nnl_context *ctx;
    const char *data; // behind the header
    size_t size;      // of the data
    nnl_mapping *mapping;
    nnl_json_reader json;
    nnl_bytes names; // the strings of the header, each with a zero behind it; never moves
    nnl_bytes entries, metadata;
    bool has_metadata;
} loader;

static const file_dtype dtypes[] = {
    {"F32", NNL_ELEMENT_FLOAT, 4},    {"F64", NNL_ELEMENT_FLOAT, 8},    {"F16", NNL_ELEMENT_FLOAT, 2},
    {"BF16", NNL_ELEMENT_BFLOAT, 2},  {"F8_E4M3", NNL_ELEMENT_E4M3, 1}, {"F8_E5M2", NNL_ELEMENT_E5M2, 1},
    {"I8", NNL_ELEMENT_SIGNED, 1},    {"I16", NNL_ELEMENT_SIGNED, 2},   {"I32", NNL_ELEMENT_SIGNED, 4},
    {"I64", NNL_ELEMENT_SIGNED, 8},   {"U8", NNL_ELEMENT_UNSIGNED, 1},  {"U16", NNL_ELEMENT_UNSIGNED, 2},
    {"U32", NNL_ELEMENT_UNSIGNED, 4}, {"U64", NNL_ELEMENT_UNSIGNED, 8}, {"BOOL", NNL_ELEMENT_BOOL, 1},
};

static bool dtype_in_file(const char *name, nnl_elements *found) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(name, dtypes[i].name) == 0)
            return nnl_elements_find(found, dtypes[i].kind, dtypes[i].size, false);
    }
    return false;
}

// ---- the header

// The event that must come next; the reader has the message where another does.
static nnl_status expect(loader *l, nnl_json_event wanted, const char *what) {
    nnl_json_event event = nnl_json_next(&l->json);
    if (event == wanted) return NNL_OK;
    return event == NNL_JSON_ERROR ? l->ctx->status : nnl_json_refuse(&l->json, what);
}

// The last key or string, in the loader's own memory.
static const char *keep_string(loader *l, size_t *length) {
    char *text = l->names.data + l->names.length;
    *length = nnl_json_string(&l->json, text);
    text[*length] = '\0';
    l->names.length += *length + 1;
    return text;
}

static nnl_status read_metadata(loader *l) {
    if (expect(l, NNL_JSON_OBJECT, "__metadata__ is no object") != NNL_OK) return l->ctx->status;
    for (;;) {
        nnl_json_event event = nnl_json_next(&l->json);
        if (event == NNL_JSON_OBJECT_END) return NNL_OK;
        if (event == NNL_JSON_ERROR) return l->ctx->status;
        nnl_metadata item;
        item.key = keep_string(l, &item.key_length);
        if (expect(l, NNL_JSON_STRING, "__metadata__ holds something else than strings") != NNL_OK)
            return l->ctx->status;
        item.value = keep_string(l, &item.value_length);
        if (nnl_bytes_add(&l->metadata, &item, sizeof item) != NNL_OK) return l->ctx->status;
    }
}

static nnl_status read_dtype(loader *l, entry *e) {
    if (expect(l, NNL_JSON_STRING, "dtype is no string") != NNL_OK) return l->ctx->status;
    size_t length;
    const char *name = keep_string(l, &length);
    if (strlen(name) == length && dtype_in_file(name, &e->elements)) return NNL_OK;
    return nnl_fail(l->ctx, NNL_ERR_IO, "tensor '%.*s': dtype '%.*s' is not supported", QUOTED, e->name,
                    QUOTED, name);
}

// Non-negative integers, in an array; as many as there are, up to `most`.
static nnl_status read_sizes(loader *l, const char *what, int most, int *count, int64_t *sizes) {
    if (expect(l, NNL_JSON_ARRAY, what) != NNL_OK) return l->ctx->status;
    for (*count = 0;; (*count)++) {
        nnl_json_event event = nnl_json_next(&l->json);
        if (event == NNL_JSON_ARRAY_END) return NNL_OK;
        if (event == NNL_JSON_ERROR) return l->ctx->status;
        if (event != NNL_JSON_INTEGER || l->json.integer < 0 || *count == most)
            return nnl_json_refuse(&l->json, what);
        sizes[*count] = l->json.integer;
    }
}

static nnl_status read_shape(loader *l, entry *e) {
    return read_sizes(l, "shape is no array of at most 16 sizes", NNL_MAX_DIMS, &e->shape.ndim,
                      e->shape.size);
}

static nnl_status read_offsets(loader *l, entry *e) {
    int count = 0;
    int64_t offsets[2];
    if (read_sizes(l, "data_offsets is no pair of integers", 2, &count, offsets) != NNL_OK)
        return l->ctx->status;
    if (count != 2) return nnl_json_refuse(&l->json, "data_offsets is no pair of integers");
    e->begin = (size_t)offsets[0];
    e->end = (size_t)offsets[1];
    return NNL_OK;
}

typedef struct field {
    const char *name;
    nnl_status (*read)(loader *l, entry *e);
} field;

static const field fields[] = {{"dtype", read_dtype}, {"shape", read_shape}, {"data_offsets", read_offsets}};
#define FIELDS (sizeof fields / sizeof *fields)

// The field that the last key names; FIELDS for none.
static size_t field_of(loader *l) {
    size_t length, i = 0;
    const char *key = keep_string(l, &length);
    while (i < FIELDS && (strlen(fields[i].name) != length || memcmp(key, fields[i].name, length) != 0)) i++;
    return i;
}

static nnl_status read_fields(loader *l, entry *e) {
    bool seen[FIELDS] = {false};
    if (expect(l, NNL_JSON_OBJECT, "a tensor is described by an object") != NNL_OK) return l->ctx->status;
    for (;;) {
        nnl_json_event event = nnl_json_next(&l->json);
        if (event == NNL_JSON_ERROR) return l->ctx->status;
        if (event == NNL_JSON_OBJECT_END) break;
        size_t i = field_of(l);
        if (i == FIELDS) return nnl_json_refuse(&l->json, "unknown key in a tensor's description");
        if (seen[i]) return nnl_json_refuse(&l->json, "a key twice in a tensor's description");
        seen[i] = true;
        if (fields[i].read(l, e) != NNL_OK) return l->ctx->status;
    }
    for (size_t i = 0; i < FIELDS; i++) {
        if (!seen[i])
            return nnl_fail(l->ctx, NNL_ERR_IO, "tensor '%.*s' has no %s", QUOTED, e->name, fields[i].name);
    }
    return NNL_OK;
}

static nnl_status check_entry(loader *l, const entry *e) {
    char text[NNL_SHAPE_TEXT];
    if (e->begin > e->end || e->end > l->size)
        return nnl_fail(l->ctx, NNL_ERR_IO,
                        "tensor '%.*s': bytes %zu to %zu are not within the %zu bytes of data", QUOTED,
                        e->name, e->begin, e->end, l->size);
    bool possible = nnl_shape_check(l->ctx, "", &e->shape, e->elements.size) == NNL_OK;
    if (!possible || (uint64_t)nnl_shape_numel(&e->shape) * e->elements.size != e->end - e->begin)
        return nnl_fail(l->ctx, NNL_ERR_IO,
                        "tensor '%.*s': %zu bytes do not make shape %s of %zu-byte elements", QUOTED, e->name,
                        e->end - e->begin, nnl_shape_text(&e->shape, text), e->elements.size);
    return NNL_OK;
}

static nnl_status read_entry(loader *l) {
    size_t length;
    const char *name = keep_string(l, &length);
    if (length == strlen("__metadata__") && memcmp(name, "__metadata__", length) == 0) {
        if (l->has_metadata) return nnl_json_refuse(&l->json, "__metadata__ twice");
        l->has_metadata = true;
        return read_metadata(l);
    }
    entry e = {.name = name, .name_length = length, .position = l->entries.length / sizeof e};
    if (read_fields(l, &e) != NNL_OK || check_entry(l, &e) != NNL_OK) return l->ctx->status;
    return nnl_bytes_add(&l->entries, &e, sizeof e);
}

static nnl_status read_header(loader *l, const char *text, size_t length) {
    // No string is longer without its quotes and escapes, so all fit in as many bytes as the header has.
    if (nnl_bytes_reserve(&l->names, length) != NNL_OK) return l->ctx->status;
    nnl_json_reader_init(&l->json, l->ctx, text, length);
    if (text[0] != '{') return nnl_json_refuse(&l->json, "'{' expected");
    nnl_json_next(&l->json);
    for (;;) {
        nnl_json_event event = nnl_json_next(&l->json);
        if (event == NNL_JSON_ERROR) return l->ctx->status;
        if (event == NNL_JSON_OBJECT_END) return expect(l, NNL_JSON_END, "");
        if (read_entry(l) != NNL_OK) return l->ctx->status;
    }
}

// ---- checks over all entries

static int compare_text(const char *a, size_t a_length, const char *b, size_t b_length) {
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

static int by_name(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return compare_text(x->name, x->name_length, y->name, y->name_length);
}

static int by_place(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}

static int by_key(const void *a, const void *b) {
    const nnl_metadata *x = a, *y = b;
    return compare_text(x->key, x->key_length, y->key, y->key_length);
}

static void sort(nnl_bytes *list, size_t size, int (*order)(const void *, const void *)) {
    if (list->length > 0) qsort(list->data, list->length / size, size, order);
}

static nnl_status check_names(loader *l) {
    sort(&l->entries, sizeof(entry), by_name);
    const entry *entries = (const entry *)l->entries.data;
    for (size_t i = 1; i < l->entries.length / sizeof *entries; i++) {
        if (by_name(&entries[i - 1], &entries[i]) == 0)
            return nnl_fail(l->ctx, NNL_ERR_IO, "tensor '%.*s' is there twice", QUOTED, entries[i].name);
    }
    sort(&l->metadata, sizeof(nnl_metadata), by_key);
    const nnl_metadata *metadata = (const nnl_metadata *)l->metadata.data;
    for (size_t i = 1; i < l->metadata.length / sizeof *metadata; i++) {
        if (by_key(&metadata[i - 1], &metadata[i]) == 0)
            return nnl_fail(l->ctx, NNL_ERR_IO, "__metadata__ has '%.*s' twice", QUOTED, metadata[i].key);
    }
    return NNL_OK;
}

// The tensors lie side by side and fill the data: no byte is hidden, none belongs to two.
static nnl_status check_places(loader *l) {
    sort(&l->entries, sizeof(entry), by_place);
    const entry *entries = (const entry *)l->entries.data;
    size_t place = 0;
    for (size_t i = 0; i < l->entries.length / sizeof *entries; i++) {
        if (entries[i].begin != place)
            return nnl_fail(l->ctx, NNL_ERR_IO, "tensor '%.*s' begins at byte %zu of the data instead of %zu",
                            QUOTED, entries[i].name, entries[i].begin, place);
        place = entries[i].end;
    }
    if (place == l->size) return NNL_OK;
    return nnl_fail(l->ctx, NNL_ERR_IO, "%zu bytes of data, of which the tensors fill %zu", l->size, place);
}

// ---- the tensors

static nnl_tensor *copied_tensor(loader *l, const entry *e) {
    nnl_tensor *t = nnl_tensor_new(l->ctx, e->elements.dtype, &e->shape);
    if (!t) return NULL;
    int64_t count = nnl_tensor_numel(t);
    int64_t read = nnl_elements_read(&e->elements, l->data + e->begin, nnl_tensor_data(t), count);
    if (read == count) return t;
    const char *what = e->elements.kind == NNL_ELEMENT_BOOL ? "a bool is neither 0 nor 1"
                                                            : "an integer is too large for int64";
    nnl_tensor_release(t);
    return nnl_fail_null(l->ctx, NNL_ERR_IO, "tensor '%.*s': %s", QUOTED, e->name, what);
}

static nnl_tensor *mapped_tensor(loader *l, const entry *e) {
    char *data = l->mapping->data + (l->data - l->mapping->data) + e->begin;
    nnl_tensor *t =
        nnl_tensor_over(l->ctx, e->elements.dtype, &e->shape, data, nnl_mapping_release, l->mapping);
    if (t) l->mapping->refs++;
    return t;
}

static bool only_bools(const char *bytes, size_t size) {
    unsigned char all = 0;
    for (size_t i = 0; i < size; i++) all |= (unsigned char)bytes[i];
    return all <= 1;
}

// Over the file where its bytes are those of the dtype.
static nnl_tensor *tensor_of(loader *l, const entry *e) {
    const char *bytes = l->data + e->begin;
    size_t size = e->end - e->begin;
    bool native = nnl_elements_native(&e->elements) ||
                  (e->elements.kind == NNL_ELEMENT_BOOL && only_bools(bytes, size));
    bool aligned = (uintptr_t)bytes % e->elements.size == 0;
    return l->mapping && native && aligned && size > 0 ? mapped_tensor(l, e) : copied_tensor(l, e);
}

static nnl_status make_tensors(loader *l, nnl_safetensors *out) {
    const entry *entries = (const entry *)l->entries.data;
    size_t count = l->entries.length / sizeof *entries;
    if (nnl_bytes_reserve(&out->tensor_list, count * sizeof *out->tensors) != NNL_OK) return l->ctx->status;
    out->tensors = (nnl_named_tensor *)out->tensor_list.data;
    for (; out->count < count; out->count++) {
        const entry *e = &entries[out->count];
        nnl_tensor *t = tensor_of(l, e);
        if (!t) return l->ctx->status;
        out->tensors[out->count] = (nnl_named_tensor){e->name, e->name_length, t};
    }
    return NNL_OK;
}

// ---- all of it

static nnl_status read_file(loader *l, const char *bytes, size_t size, nnl_safetensors *out) {
    uint64_t length = 0;
    if (size >= LENGTH_BYTES) memcpy(&length, bytes, LENGTH_BYTES);
    if (size < LENGTH_BYTES || length < 2)
        return nnl_fail(l->ctx, NNL_ERR_IO, "no safetensors file: too short for a header");
    if (length > HEADER_LIMIT || length > size - LENGTH_BYTES)
        return nnl_fail(l->ctx, NNL_ERR_IO, "no safetensors file: a header of %llu bytes in a file of %zu",
                        (unsigned long long)length, size);
    l->data = bytes + LENGTH_BYTES + length;
    l->size = size - LENGTH_BYTES - (size_t)length;
    if (read_header(l, bytes + LENGTH_BYTES, (size_t)length) != NNL_OK || check_names(l) != NNL_OK ||
        check_places(l) != NNL_OK)
        return l->ctx->status;
    return make_tensors(l, out);
}

static nnl_status load(nnl_context *ctx, const char *bytes, size_t size, nnl_mapping *mapping,
                       nnl_safetensors *out) {
    loader l = {.ctx = ctx, .mapping = mapping, .names.ctx = ctx, .entries.ctx = ctx, .metadata.ctx = ctx};
    *out = (nnl_safetensors){.tensor_list.ctx = ctx};
    nnl_status status = read_file(&l, bytes, size, out);
    nnl_bytes_free(&l.entries);
    out->names = l.names;
    out->metadata_list = l.metadata;
    out->metadata = (nnl_metadata *)l.metadata.data;
    out->metadata_count = l.metadata.length / sizeof *out->metadata;
    if (status != NNL_OK) nnl_safetensors_free(out);
    return status;
}

nnl_status nnl_safetensors_load(nnl_context *ctx, const char *path, bool map, nnl_safetensors *out) {
    nnl_mapping *mapping = nnl_mapping_new(ctx, path);
    if (!mapping) return ctx->status;
    nnl_status status = load(ctx, mapping->data, mapping->size, map ? mapping : NULL, out);
    if (status != NNL_OK) nnl_file_blame(ctx, path);
    nnl_mapping_release(mapping);
    return status;
}

nnl_status nnl_safetensors_parse(nnl_context *ctx, const void *data, size_t size, nnl_safetensors *out) {
    return load(ctx, data, size, NULL, out);
}

void nnl_safetensors_free(nnl_safetensors *loaded) {
    for (size_t i = 0; i < loaded->count; i++) nnl_tensor_release(loaded->tensors[i].tensor);
    nnl_bytes_free(&loaded->names);
    nnl_bytes_free(&loaded->tensor_list);
    nnl_bytes_free(&loaded->metadata_list);
    *loaded = (nnl_safetensors){.count = 0};
}
