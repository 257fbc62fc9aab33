// state.c: making, filling, packing and loading the state of optimizers. See state.h.
#include "optim/state.h"
#include "tensor/apply.h"

#include <string.h>

// Numbers that share a measure.
#define BLOCK 256
// Smaller parameters (biases, normalisations) gain little.
#define LEAST_FOR_BYTES 4096

static nnl_dtype compute_dtype(const nnl_tensor *t) {
    return nnl_tensor_compute(t) == NNL_IN_DOUBLE ? NNL_FLOAT64 : NNL_FLOAT32;
}

// Of double parameters the state is double: who asks for them wants the precision.
static nnl_state_kind kind_for(const nnl_optimizer_class *class, const nnl_option_value *option,
                               const nnl_tensor *param) {
    int position;
    const nnl_option *declared = nnl_option_named(class->options, "state_dtype", &position);
    if (!declared || compute_dtype(param) == NNL_FLOAT64) return NNL_STATE_WHOLE;
    nnl_state_kind kind = (nnl_state_kind)option[position].i;
    bool small = nnl_tensor_numel(param) < LEAST_FOR_BYTES;
    return kind == NNL_STATE_BYTES && small ? NNL_STATE_WHOLE : kind;
}

static int64_t blocks_of(const nnl_tensor *param) { return (nnl_tensor_numel(param) + BLOCK - 1) / BLOCK; }

static nnl_tensor *zeros(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape) {
    nnl_tensor *t = nnl_tensor_new(ctx, dtype, shape);
    if (t) nnl_apply_fill(t, nnl_number_float(0));
    return t;
}

static nnl_status make_of_kind(nnl_context *ctx, nnl_state_kind kind, const nnl_tensor *param,
                               nnl_tensor **state, nnl_tensor **scale) {
    static const nnl_dtype packed[] = {[NNL_STATE_HALVES] = NNL_BFLOAT16, [NNL_STATE_BYTES] = NNL_UINT8};
    nnl_shape blocks = {1, {blocks_of(param)}};
    nnl_dtype dtype = kind == NNL_STATE_WHOLE ? compute_dtype(param) : packed[kind];
    *state = zeros(ctx, dtype, &param->shape);
    *scale = NULL;
    if (!*state || kind != NNL_STATE_BYTES) return *state ? NNL_OK : ctx->status;
    *scale = zeros(ctx, NNL_FLOAT32, &blocks);
    if (*scale) return NNL_OK;
    nnl_tensor_release(*state);
    *state = NULL;
    return ctx->status;
}

nnl_status nnl_state_make(nnl_context *ctx, const nnl_optimizer_class *class, const nnl_option_value *option,
                          nnl_param_state *p, int k) {
    nnl_state_kind kind = kind_for(class, option, p->param);
    nnl_status status = make_of_kind(ctx, kind, p->param, &p->state[k], &p->scale[k]);
    if (status == NNL_OK) p->fresh = true;
    return status;
}

// A tensor's own struct and its storage lie before its elements.
static size_t tensor_bytes(int64_t elements, size_t size) {
    return nnl_alloc_counted((size_t)elements * size + sizeof(nnl_tensor) + sizeof(nnl_storage));
}

size_t nnl_state_bytes(const nnl_optimizer_class *class, const nnl_option_value *option,
                       const nnl_tensor *param) {
    int64_t count = nnl_tensor_numel(param);
    switch (kind_for(class, option, param)) {
    case NNL_STATE_HALVES:
        return tensor_bytes(count, 2);
    case NNL_STATE_BYTES:
        return tensor_bytes(count, 1) + tensor_bytes(blocks_of(param), sizeof(float));
    default:
        return tensor_bytes(count, nnl_dtype_size(compute_dtype(param)));
    }
}

bool nnl_state_is_packed(const nnl_param_state *p) {
    for (int k = 0; k < NNL_MAX_STATE; k++) {
        if (p->state[k] && !nnl_dtype_get(p->state[k]->dtype)->native) return true;
        if (p->scale[k]) return true;
    }
    return false;
}

// ---- packing. State is contiguous.

void nnl_state_unpack(const nnl_kernels *kernels, const nnl_param_state *p, int k, size_t from, size_t n,
                      float *x) {
    bool squares = p->squares >> k & 1;
    if (!p->scale[k]) {
        kernels->pack->from_halves(n, (const uint16_t *)nnl_tensor_data(p->state[k]) + from, x);
        return;
    }
    const uint8_t *code = (const uint8_t *)nnl_tensor_data(p->state[k]) + from;
    const float *scale = (const float *)nnl_tensor_data(p->scale[k]) + from / BLOCK;
    for (size_t i = 0; i < n; i += BLOCK)
        kernels->pack->from_bytes(n - i < BLOCK ? n - i : BLOCK, code + i, scale[i / BLOCK], squares, x + i);
}

void nnl_state_pack(const nnl_kernels *kernels, const nnl_param_state *p, int k, size_t from, size_t n,
                    const float *x, const uint32_t *seed) {
    bool squares = p->squares >> k & 1, nearest = !seed;
    uint32_t first = seed ? *seed + (uint32_t)from : 0;
    if (!p->scale[k]) {
        kernels->pack->to_halves(n, x, (uint16_t *)nnl_tensor_data(p->state[k]) + from, nearest, first);
        return;
    }
    uint8_t *code = (uint8_t *)nnl_tensor_data(p->state[k]) + from;
    float *scale = (float *)nnl_tensor_data(p->scale[k]) + from / BLOCK;
    for (size_t i = 0; i < n; i += BLOCK)
        kernels->pack->to_bytes(n - i < BLOCK ? n - i : BLOCK, x + i, code + i, &scale[i / BLOCK], squares,
                                nearest, first + (uint32_t)i);
}

static bool is_packed(const nnl_param_state *p, int k) {
    return p->scale[k] || !nnl_dtype_get(p->state[k]->dtype)->native;
}

void nnl_state_fill(nnl_context *ctx, nnl_param_state *p, int k, double value) {
    float x[NNL_STATE_STRETCH];
    size_t count = (size_t)nnl_tensor_numel(p->state[k]);
    if (!is_packed(p, k)) {
        nnl_apply_fill(p->state[k], nnl_number_float(value));
        return;
    }
    for (size_t i = 0; i < NNL_STATE_STRETCH; i++) x[i] = (float)value;
    for (size_t from = 0; from < count; from += NNL_STATE_STRETCH) {
        size_t n = count - from < NNL_STATE_STRETCH ? count - from : NNL_STATE_STRETCH;
        nnl_state_pack(ctx->kernels, p, k, from, n, x, NULL);
    }
}

// ---- loading

static nnl_status check_shape(nnl_context *ctx, const nnl_param_state *p, const nnl_shape *expected,
                              const nnl_tensor *values, const char *what) {
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    if (nnl_shape_equal(expected, &values->shape)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "load_state_dict: %s of shape %s for a parameter of shape %s", what,
                    nnl_shape_text(&values->shape, a), nnl_shape_text(&p->param->shape, b));
}

static nnl_status check_values(nnl_context *ctx, const nnl_param_state *p, const nnl_tensor *values,
                               const nnl_tensor *scale) {
    nnl_shape blocks = {1, {blocks_of(p->param)}};
    nnl_status status = check_shape(ctx, p, &p->param->shape, values, "state");
    if (status != NNL_OK) return status;
    if ((values->dtype == NNL_UINT8) != (scale != NULL) || (scale && scale->dtype != NNL_FLOAT32)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "load_state_dict: state in bytes has its measures with it, as float32");
    }
    return scale ? check_shape(ctx, p, &blocks, scale, "measures of state") : NNL_OK;
}

// From one kind to another by way of floats.
static void convert(nnl_context *ctx, const nnl_param_state *from, nnl_param_state *to, int k) {
    float x[NNL_STATE_STRETCH];
    size_t count = (size_t)nnl_tensor_numel(to->param);
    for (size_t at = 0; at < count; at += NNL_STATE_STRETCH) {
        size_t n = count - at < NNL_STATE_STRETCH ? count - at : NNL_STATE_STRETCH;
        const float *floats = is_packed(from, k) ? x : (const float *)nnl_tensor_data(from->state[k]) + at;
        if (floats == x) nnl_state_unpack(ctx->kernels, from, k, at, n, x);
        if (is_packed(to, k)) nnl_state_pack(ctx->kernels, to, k, at, n, floats, NULL);
        if (!is_packed(to, k))
            memcpy((float *)nnl_tensor_data(to->state[k]) + at, floats, n * sizeof *floats);
    }
}

// Values as arrays: contiguous, and floats unless they are packed. Returns new.
static nnl_tensor *as_state(nnl_context *ctx, const nnl_tensor *values, nnl_dtype dtype) {
    bool packed = values->dtype == NNL_UINT8 || values->dtype == NNL_BFLOAT16;
    nnl_tensor *copy =
        nnl_tensor_new(ctx, packed && dtype != NNL_FLOAT64 ? values->dtype : dtype, &values->shape);
    if (copy) nnl_apply_copy(copy, values);
    return copy;
}

nnl_status nnl_optimizer_load(nnl_context *ctx, const nnl_optimizer_class *class,
                              const nnl_option_value *option, nnl_param_state *p, int slot,
                              const nnl_tensor *values, const nnl_tensor *scale) {
    nnl_status status = check_values(ctx, p, values, scale);
    if (status != NNL_OK) return status;
    nnl_param_state from = {.param = p->param, .squares = p->squares}, to = from;
    nnl_dtype dtype = compute_dtype(p->param);
    if (scale && dtype == NNL_FLOAT64)
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "load_state_dict: state in bytes is not for float64 parameters");
    from.state[slot] = as_state(ctx, values, dtype);
    if (from.state[slot] && scale) from.scale[slot] = as_state(ctx, scale, NNL_FLOAT32);
    if (!from.state[slot] || (scale && !from.scale[slot])) status = ctx->status;
    if (status == NNL_OK) status = nnl_state_make(ctx, class, option, &to, slot);
    if (status == NNL_OK) {
        bool same = from.state[slot]->dtype == to.state[slot]->dtype;
        if (!same) convert(ctx, &from, &to, slot);
        nnl_param_state *kept = same ? &from : &to;
        nnl_tensor_release(p->state[slot]);
        nnl_tensor_release(p->scale[slot]);
        p->state[slot] = nnl_tensor_retain(kept->state[slot]);
        p->scale[slot] = kept->scale[slot] ? nnl_tensor_retain(kept->scale[slot]) : NULL;
    }
    nnl_tensor_release(from.state[slot]);
    nnl_tensor_release(from.scale[slot]);
    nnl_tensor_release(to.state[slot]);
    nnl_tensor_release(to.scale[slot]);
    return status;
}
