// context.c: making, sharing and ending a context, and the text of its last failure. See context.h.
#include "base/context.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

nnl_context *nnl_context_new(void) {
    nnl_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) return NULL;
    ctx->pool = nnl_pool_new(nnl_processors());
    if (!ctx->pool) {
        free(ctx);
        return NULL;
    }
    ctx->refs = 1;
    ctx->grad_enabled = true;
    nnl_allocator_init(&ctx->allocator);
    nnl_random_seed(&ctx->random, 0);
    return ctx;
}

void nnl_context_free(nnl_context *ctx) {
    nnl_pool_free(ctx->pool);
    nnl_allocator_trim(&ctx->allocator);
    free(ctx);
}

static void record(nnl_context *ctx, nnl_status status, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static void record(nnl_context *ctx, nnl_status status, const char *format, va_list args) {
    ctx->status = status;
    vsnprintf(ctx->error, sizeof ctx->error, format, args);
}

nnl_status nnl_fail(nnl_context *ctx, nnl_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    record(ctx, status, format, args);
    va_end(args);
    return status;
}

void *nnl_fail_null(nnl_context *ctx, nnl_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    record(ctx, status, format, args);
    va_end(args);
    return NULL;
}

nnl_status nnl_check_stop(nnl_context *ctx, const char *who) {
    return nnl_pool_stops(ctx->pool) ? nnl_fail(ctx, NNL_ERR_INTERRUPTED, "%s: interrupted", who) : NNL_OK;
}

void nnl_error_clear(nnl_context *ctx) {
    ctx->status = NNL_OK;
    ctx->error[0] = '\0';
}
