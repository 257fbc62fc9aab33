// bytes.c: growing by half, so that n additions copy about 3n bytes.
#include "io/bytes.h"

#include <stdint.h>
#include <string.h>

#define FIRST_CAPACITY 256

nnl_status nnl_bytes_reserve(nnl_bytes *bytes, size_t more) {
    if (bytes->capacity - bytes->length >= more) return NNL_OK;
    nnl_context *ctx = bytes->ctx;
    if (more > SIZE_MAX / 4 || bytes->length > SIZE_MAX / 4)
        return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: %zu more bytes wanted", more);
    size_t capacity = bytes->capacity + bytes->capacity / 2;
    if (capacity < bytes->length + more) capacity = bytes->length + more;
    if (capacity < FIRST_CAPACITY) capacity = FIRST_CAPACITY;
    char *data = nnl_alloc(&ctx->allocator, capacity);
    if (!data) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: %zu bytes wanted", capacity);
    if (bytes->length > 0) memcpy(data, bytes->data, bytes->length);
    if (bytes->data) nnl_free(&ctx->allocator, bytes->data);
    bytes->data = data;
    bytes->capacity = capacity;
    return NNL_OK;
}

nnl_status nnl_bytes_add(nnl_bytes *bytes, const void *data, size_t size) {
    if (nnl_bytes_reserve(bytes, size) != NNL_OK) return bytes->ctx->status;
    if (size > 0) memcpy(bytes->data + bytes->length, data, size);
    bytes->length += size;
    return NNL_OK;
}

void nnl_bytes_free(nnl_bytes *bytes) {
    if (bytes->data) nnl_free(&bytes->ctx->allocator, bytes->data);
    *bytes = (nnl_bytes){.ctx = bytes->ctx};
}
