// npz.c: arrays by name in a zip file, as numpy.savez writes them.
#include "io/file.h"
#include "io/npy.h"
#include "io/zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX ".npy"
#define SUFFIX_BYTES 4
#define QUOTED 80 // bytes of a name that a message repeats, at most

static bool is_array(const nnl_zip_entry *entry) {
    return entry->name_length > SUFFIX_BYTES &&
           memcmp(entry->name + entry->name_length - SUFFIX_BYTES, SUFFIX, SUFFIX_BYTES) == 0;
}

// ---- reading

// The names stay where they are in the file, so they are kept in one piece of memory of their own first.
static nnl_status add_array(nnl_zip *zip, const nnl_zip_entry *entry, nnl_safetensors *out) {
    nnl_source source;
    nnl_named_tensor named = {.name_length = entry->name_length - SUFFIX_BYTES};
    if (nnl_zip_source(zip, entry, &source) != NNL_OK) return zip->ctx->status;
    nnl_status status = nnl_npy_read(&source, &named.tensor);
    if (status == NNL_OK)
        status = nnl_zip_close(entry, &source);
    else
        nnl_source_close(&source);
    char *name = out->names.data + out->names.length;
    named.name = name;
    if (status == NNL_OK) status = nnl_bytes_add(&out->tensor_list, &named, sizeof named);
    if (status != NNL_OK) {
        nnl_tensor_release(named.tensor);
        return status;
    }
    memcpy(name, entry->name, named.name_length);
    name[named.name_length] = '\0';
    out->names.length += named.name_length + 1;
    out->tensors = (nnl_named_tensor *)out->tensor_list.data;
    out->count++;
    return NNL_OK;
}

static nnl_status blame_entry(nnl_context *ctx, const nnl_zip_entry *entry) {
    char text[NNL_ERROR_SIZE];
    int length = entry->name_length < QUOTED ? (int)entry->name_length : QUOTED;
    memcpy(text, ctx->error, sizeof text);
    return nnl_fail(ctx, ctx->status, "%.*s: %.350s", length, entry->name, text);
}

static nnl_status read_arrays(nnl_zip *zip, nnl_safetensors *out) {
    nnl_zip_entry entry;
    // No name is longer than its entry in the directory.
    if (nnl_bytes_reserve(&out->names, (size_t)(zip->end - zip->at)) != NNL_OK) return zip->ctx->status;
    for (bool more;;) {
        if (nnl_zip_next(zip, &entry, &more) != NNL_OK) return zip->ctx->status;
        if (!more) return NNL_OK;
        if (is_array(&entry) && add_array(zip, &entry, out) != NNL_OK) return blame_entry(zip->ctx, &entry);
    }
}

static int by_name(const void *a, const void *b) {
    const nnl_named_tensor *x = *(nnl_named_tensor *const *)a, *y = *(nnl_named_tensor *const *)b;
    size_t shared = x->name_length < y->name_length ? x->name_length : y->name_length;
    int order = memcmp(x->name, y->name, shared);
    return order != 0 ? order : (x->name_length > y->name_length) - (x->name_length < y->name_length);
}

static nnl_status check_names(nnl_context *ctx, const nnl_safetensors *set) {
    nnl_bytes list = {.ctx = ctx};
    if (nnl_bytes_reserve(&list, (set->count + 1) * sizeof(nnl_named_tensor *)) != NNL_OK) return ctx->status;
    const nnl_named_tensor **sorted = (const nnl_named_tensor **)list.data;
    for (size_t i = 0; i < set->count; i++) sorted[i] = &set->tensors[i];
    qsort(sorted, set->count, sizeof *sorted, by_name);
    size_t i = 1;
    while (i < set->count && by_name(&sorted[i - 1], &sorted[i]) != 0) i++;
    nnl_status status = NNL_OK;
    if (i < set->count)
        status = nnl_fail(ctx, NNL_ERR_IO, "array '%.*s' is there twice", QUOTED, sorted[i]->name);
    nnl_bytes_free(&list);
    return status;
}

nnl_status nnl_npz_parse(nnl_context *ctx, const char *data, size_t size, nnl_safetensors *out) {
    nnl_zip zip;
    *out = (nnl_safetensors){.names.ctx = ctx, .tensor_list.ctx = ctx, .metadata_list.ctx = ctx};
    nnl_status status = nnl_zip_open(&zip, ctx, data, size);
    if (status == NNL_OK) status = read_arrays(&zip, out);
    if (status == NNL_OK) status = check_names(ctx, out);
    if (status != NNL_OK) nnl_safetensors_free(out);
    return status;
}

nnl_status nnl_npz_load(nnl_context *ctx, const char *path, nnl_safetensors *out) {
    nnl_mapping *mapping = nnl_mapping_new(ctx, path);
    if (!mapping) return ctx->status;
    nnl_status status = nnl_npz_parse(ctx, mapping->data, mapping->size, out);
    if (status != NNL_OK) nnl_file_blame(ctx, path);
    nnl_mapping_release(mapping);
    return status;
}

// ---- writing

static nnl_status write_array(nnl_zip_writer *zip, const char *name, const nnl_tensor *t, bool compress) {
    nnl_bytes head = {.ctx = zip->file->ctx};
    nnl_tensor *form = nnl_npy_form(t);
    nnl_status status = form ? nnl_npy_header(form, &head) : zip->file->ctx->status;
    if (status == NNL_OK) {
        size_t size = (size_t)nnl_tensor_numel(form) * nnl_dtype_size(form->dtype);
        status = nnl_zip_add(zip, name, &head, nnl_tensor_data(form), size, compress);
    }
    nnl_bytes_free(&head);
    nnl_tensor_release(form);
    return status;
}

static nnl_status write_arrays(nnl_zip_writer *zip, const nnl_safetensors *set, bool compress) {
    nnl_bytes name = {.ctx = zip->file->ctx};
    nnl_status status = NNL_OK;
    for (size_t i = 0; i < set->count && status == NNL_OK; i++) {
        name.length = 0;
        status = nnl_bytes_add(&name, set->tensors[i].name, set->tensors[i].name_length);
        if (status == NNL_OK) status = nnl_bytes_add(&name, SUFFIX, SUFFIX_BYTES + 1);
        if (status == NNL_OK) status = write_array(zip, name.data, set->tensors[i].tensor, compress);
    }
    nnl_bytes_free(&name);
    return status == NNL_OK ? nnl_zip_finish(zip) : status;
}

nnl_status nnl_npz_save(nnl_context *ctx, const char *path, const nnl_safetensors *set, bool compress) {
    nnl_file file;
    if (check_names(ctx, set) != NNL_OK || nnl_file_create(&file, ctx, path) != NNL_OK) return ctx->status;
    nnl_zip_writer zip = {.file = &file, .directory.ctx = ctx};
    nnl_status status = write_arrays(&zip, set, compress);
    nnl_zip_free(&zip);
    if (status == NNL_OK) return nnl_file_commit(&file);
    nnl_file_discard(&file);
    return status;
}
