// distance.c: similarity and distance of vectors, and the losses made of them. All are compositions, so that
// their derivatives come with them; a scratch list lets go of what is made on the way.
#include "grad/records.h"

#include <math.h>

#define SCRATCH 40 // more than any formula here makes

typedef struct scratch {
    nnl_context *ctx;
    nnl_tensor *made[SCRATCH];
    int count;
} scratch;

// Takes t; NULL goes through, here and in the functions below, so that an error ends a formula by itself.
static nnl_tensor *keep(scratch *s, nnl_tensor *t) {
    if (t) s->made[s->count++] = t;
    return t;
}

// The outcome of a formula, new; the rest is let go of.
static nnl_tensor *finish(scratch *s, nnl_tensor *out) {
    if (out) nnl_tensor_retain(out);
    while (s->count > 0) nnl_tensor_release(s->made[--s->count]);
    return out;
}

static nnl_tensor *times(scratch *s, nnl_tensor *a, nnl_tensor *b) {
    return a && b ? keep(s, nnl_mul(s->ctx, a, b)) : NULL;
}

static nnl_tensor *minus(scratch *s, nnl_tensor *a, nnl_tensor *b) {
    return a && b ? keep(s, nnl_sub(s->ctx, a, b)) : NULL;
}

static nnl_tensor *over(scratch *s, nnl_tensor *a, nnl_tensor *b) {
    return a && b ? keep(s, nnl_div(s->ctx, a, b)) : NULL;
}

static nnl_tensor *add_number(scratch *s, nnl_tensor *a, double b) {
    return a ? keep(s, nnl_add_number(s->ctx, a, b)) : NULL;
}

static nnl_tensor *unary(scratch *s, nnl_unary kind, nnl_tensor *x) {
    return x ? keep(s, nnl_unary_op(s->ctx, kind, x, NULL)) : NULL;
}

static nnl_tensor *sum_over(scratch *s, nnl_tensor *x, int dim) {
    int64_t dims[1] = {dim};
    return x ? keep(s, nnl_sum(s->ctx, x, x->shape.ndim > 0 ? 1 : 0, dims, false)) : NULL;
}

static nnl_tensor *lesser(scratch *s, nnl_tensor *a, nnl_tensor *b) {
    nnl_call call;
    if (!a || !b) return NULL;
    nnl_call_init(&call, nnl_op_named("minimum"));
    call.arg[0] = (nnl_arg){.given = true, .tensor = a};
    call.arg[1] = (nnl_arg){.given = true, .tensor = b};
    return keep(s, nnl_call_result(s->ctx, &call));
}

static nnl_tensor *reduced(scratch *s, nnl_tensor *x, nnl_loss_reduction reduction) {
    if (!x || reduction == NNL_LOSS_NONE) return x;
    bool mean = reduction == NNL_LOSS_MEAN;
    return keep(s, mean ? nnl_mean(s->ctx, x, 0, NULL, false) : nnl_sum(s->ctx, x, 0, NULL, false));
}

static nnl_status check_float(nnl_context *ctx, const char *who, const nnl_tensor *x) {
    if (nnl_dtype_is_float(x->dtype)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected tensors of a float dtype, got \"%s\"", who,
                    nnl_dtype_get(x->dtype)->name);
}

static nnl_status check_pair(nnl_context *ctx, const char *who, const nnl_tensor *a, const nnl_tensor *b) {
    nnl_shape shape;
    nnl_status status = check_float(ctx, who, a);
    if (status == NNL_OK) status = check_float(ctx, who, b);
    return status == NNL_OK ? nnl_shape_broadcast(ctx, who, &a->shape, &b->shape, &shape) : status;
}

// ---- similarity: a b / (max(|a|, eps) max(|b|, eps)), over one dimension

static nnl_tensor *length(scratch *s, nnl_tensor *x, int dim, double eps) {
    nnl_tensor *square = sum_over(s, times(s, x, x), dim);
    const double bounds[2] = {eps * eps, HUGE_VAL};
    nnl_tensor *least = square ? keep(s, nnl_unary_op(s->ctx, NNL_UNARY_clamp, square, bounds)) : NULL;
    return unary(s, NNL_UNARY_sqrt, least);
}

nnl_tensor *nnl_cosine_similarity(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b, int dim, double eps) {
    scratch s = {.ctx = ctx};
    nnl_shape shape;
    if (check_pair(ctx, "cosine_similarity", a, b) != NNL_OK) return NULL;
    nnl_shape_broadcast(ctx, "cosine_similarity", &a->shape, &b->shape, &shape);
    nnl_tensor *wide_a = keep(&s, nnl_expand(ctx, a, &shape));
    nnl_tensor *wide_b = wide_a ? keep(&s, nnl_expand(ctx, b, &shape)) : NULL;
    nnl_tensor *product = sum_over(&s, times(&s, wide_a, wide_b), dim);
    nnl_tensor *lengths =
        times(&s, length(&s, wide_a, dim, eps), wide_b ? length(&s, wide_b, dim, eps) : NULL);
    return finish(&s, over(&s, product, lengths));
}

// ---- distance: |a - b + eps| in the p-norm, over the last dimension

static nnl_tensor *distance(scratch *s, nnl_tensor *a, nnl_tensor *b, double p, double eps) {
    nnl_call call;
    nnl_tensor *difference = add_number(s, minus(s, a, b), eps);
    if (!difference) return NULL;
    nnl_call_init(&call, nnl_op_named("norm"));
    call.arg[0] = (nnl_arg){.given = true, .tensor = difference};
    call.arg[1] = (nnl_arg){.given = true, .number = nnl_number_float(p)};
    nnl_shape *dims = nnl_call_list(&call, 2);
    if (difference->shape.ndim > 0) dims->size[dims->ndim++] = difference->shape.ndim - 1;
    return keep(s, nnl_call_result(s->ctx, &call));
}

nnl_tensor *nnl_pairwise_distance(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b, double p, double eps) {
    scratch s = {.ctx = ctx};
    if (check_pair(ctx, "pairwise_distance", a, b) != NNL_OK) return NULL;
    return finish(&s, distance(&s, a, b, p, eps));
}

// ---- losses

// PyTorch's form: both squared lengths get this under the root.
#define COSINE_EPS 1e-12

static nnl_status check_signs(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b, nnl_tensor *target) {
    const char *who = "nn.CosineEmbeddingLoss";
    char ta[NNL_SHAPE_TEXT], tb[NNL_SHAPE_TEXT], tt[NNL_SHAPE_TEXT];
    nnl_status status = check_pair(ctx, who, a, b);
    if (status != NNL_OK) return status;
    bool batch = a->shape.ndim == 2 && target->shape.ndim == 1 && target->shape.size[0] == a->shape.size[0];
    bool one = a->shape.ndim == 1 && target->shape.ndim == 0;
    if (nnl_shape_equal(&a->shape, &b->shape) && (batch || one)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected (N, D), (N, D) and a target (N), got %s, %s and %s",
                    who, nnl_shape_text(&a->shape, ta), nnl_shape_text(&b->shape, tb),
                    nnl_shape_text(&target->shape, tt));
}

// Whether the target is this number, as a bool tensor.
static nnl_tensor *target_is(scratch *s, nnl_tensor *target, int64_t number) {
    nnl_tensor *wanted = keep(s, nnl_tensor_new(s->ctx, target->dtype, &(nnl_shape){.ndim = 0}));
    if (!wanted) return NULL;
    nnl_try_fill(wanted, nnl_number_int(number));
    return keep(s, nnl_compare_op(s->ctx, NNL_COMPARE_eq, target, wanted));
}

// x where the condition holds, else 0
static nnl_tensor *only_where(scratch *s, nnl_tensor *condition, nnl_tensor *x) {
    nnl_tensor *zero = x ? keep(s, nnl_tensor_new(s->ctx, x->dtype, &(nnl_shape){.ndim = 0})) : NULL;
    if (!zero || !condition) return NULL;
    nnl_try_fill(zero, nnl_number_int(0));
    return keep(s, nnl_where(s->ctx, condition, x, zero));
}

nnl_tensor *nnl_cosine_embedding_loss(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b, nnl_tensor *target,
                                      double margin, nnl_loss_reduction reduction) {
    scratch s = {.ctx = ctx};
    if (check_signs(ctx, a, b, target) != NNL_OK) return NULL;
    int dim = a->shape.ndim - 1;
    nnl_tensor *product = sum_over(&s, times(&s, a, b), dim);
    nnl_tensor *size_a = add_number(&s, sum_over(&s, times(&s, a, a), dim), COSINE_EPS);
    nnl_tensor *size_b = add_number(&s, sum_over(&s, times(&s, b, b), dim), COSINE_EPS);
    nnl_tensor *cosine = over(&s, product, unary(&s, NNL_UNARY_sqrt, times(&s, size_a, size_b)));
    nnl_tensor *apart = cosine ? add_number(&s, unary(&s, NNL_UNARY_neg, cosine), 1) : NULL;
    nnl_tensor *near = unary(&s, NNL_UNARY_relu, add_number(&s, cosine, -margin));
    nnl_tensor *alike = only_where(&s, target_is(&s, target, 1), apart);
    nnl_tensor *unlike = only_where(&s, target_is(&s, target, -1), near);
    nnl_tensor *loss = alike && unlike ? keep(&s, nnl_add(ctx, alike, unlike)) : NULL;
    return finish(&s, reduced(&s, loss, reduction));
}

nnl_tensor *nnl_triplet_margin_loss(nnl_context *ctx, nnl_tensor *anchor, nnl_tensor *positive,
                                    nnl_tensor *negative, const nnl_triplet_options *options) {
    scratch s = {.ctx = ctx};
    double p = options->p, eps = options->eps;
    if (check_pair(ctx, "nn.TripletMarginLoss", anchor, positive) != NNL_OK) return NULL;
    if (check_pair(ctx, "nn.TripletMarginLoss", anchor, negative) != NNL_OK) return NULL;
    nnl_tensor *near = distance(&s, anchor, positive, p, eps);
    nnl_tensor *far = near ? distance(&s, anchor, negative, p, eps) : NULL;
    if (far && options->swap) far = lesser(&s, far, distance(&s, positive, negative, p, eps));
    nnl_tensor *loss = unary(&s, NNL_UNARY_relu, add_number(&s, minus(&s, near, far), options->margin));
    return finish(&s, reduced(&s, loss, options->reduction));
}

// ---- nn.functional

static nnl_status give(nnl_context *ctx, nnl_call *call, nnl_tensor *out) {
    call->out[0] = out;
    return out ? NNL_OK : ctx->status;
}

// The dimension counts in the broadcast shape.
static nnl_status cosine_similarity_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *a = call->arg[0].tensor, *b = call->arg[1].tensor;
    int ndim = a->shape.ndim > b->shape.ndim ? a->shape.ndim : b->shape.ndim;
    int64_t dim = call->arg[2].i > 0 ? call->arg[2].i - 1 : call->arg[2].i + ndim;
    if (ndim > 0 && (dim < 0 || dim >= ndim)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "cosine_similarity: dimension %lld is not within 1 to %d",
                        (long long)call->arg[2].i, ndim);
    }
    return give(ctx, call, nnl_cosine_similarity(ctx, a, b, ndim > 0 ? (int)dim : 0, call->arg[3].number.d));
}

static nnl_status pairwise_distance_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_arg *arg = call->arg;
    return give(ctx, call,
                nnl_pairwise_distance(ctx, arg[0].tensor, arg[1].tensor, arg[2].number.d, arg[3].number.d));
}

static nnl_status cosine_embedding_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_arg *arg = call->arg;
    return give(ctx, call,
                nnl_cosine_embedding_loss(ctx, arg[0].tensor, arg[1].tensor, arg[2].tensor, arg[3].number.d,
                                          (nnl_loss_reduction)arg[4].i));
}

static nnl_status triplet_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_arg *arg = call->arg;
    nnl_triplet_options options = {.margin = arg[3].number.d,
                                   .p = arg[4].number.d,
                                   .eps = arg[5].number.d,
                                   .swap = arg[6].flag,
                                   .reduction = (nnl_loss_reduction)arg[7].i};
    return give(ctx, call,
                nnl_triplet_margin_loss(ctx, arg[0].tensor, arg[1].tensor, arg[2].tensor, &options));
}

#define TENSOR(n)                                                                                            \
    { n, NNL_ARG_TENSOR, false, 0, NULL }
#define NUMBER(n, value)                                                                                     \
    { n, NNL_ARG_NUMBER, true, value, NULL }
#define REDUCTION                                                                                            \
    { "reduction", NNL_ARG_CHOICE, true, 0, "mean sum none" }

const nnl_op nnl_distance_records[] = {
    {.name = "cosine_similarity",
     .doc = "a b / (|a| |b|) over one dimension (2 by default); lengths are at least eps",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {TENSOR("input1"), TENSOR("input2"), {"dim", NNL_ARG_INT, true, 2, NULL}, NUMBER("eps", 1e-8)},
     .forward = cosine_similarity_forward},
    {.name = "pairwise_distance",
     .doc = "the p-norm of input1 - input2 + eps over the last dimension",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {TENSOR("input1"), TENSOR("input2"), NUMBER("p", 2), NUMBER("eps", 1e-6)},
     .forward = pairwise_distance_forward},
    {.name = "cosine_embedding_loss",
     .doc = "1 - cosine of (N, D) pairs with target 1, max(0, cosine - margin) of those with target -1",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {TENSOR("input1"), TENSOR("input2"), TENSOR("target"), NUMBER("margin", 0), REDUCTION},
     .forward = cosine_embedding_forward},
    {.name = "triplet_margin_loss",
     .doc = "max(0, margin + |anchor - positive| - |anchor - negative|) of (N, D) (Balntas et al. 2016)",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {TENSOR("anchor"),
                TENSOR("positive"),
                TENSOR("negative"),
                NUMBER("margin", 1),
                NUMBER("p", 2),
                NUMBER("eps", 1e-6),
                {"swap", NNL_ARG_BOOL, true, 0, NULL},
                REDUCTION},
     .forward = triplet_forward},
    {.name = NULL},
};
