// test_gradcheck.c: the gradient of every operation that has one, and the gradient of that, against finite
// differences in float64. The list comes from the records themselves, so a new operation is checked without
// being named here; only arguments that cannot be guessed from a record's declaration are.
#include "engine.h"

#include <math.h>
#include <string.h>

#define SIDE 3
#define STEP 1e-6

typedef enum layout { CONTIGUOUS, TRANSPOSED, EXPANDED, LAYOUTS } layout;

static const char *const layout_names[LAYOUTS] = {"contiguous", "transposed", "expanded"};

// Operations whose operands are not square matrices: the number of dimensions of each.
typedef struct ranks {
    const char *name;
    int first, second;
} ranks;

static const ranks special_ranks[] = {{"mv", 2, 1},           {"bmm", 3, 3},        {"dot", 1, 1},
                                      {"outer", 1, 1},        {"index_fill", 2, 0}, {"prelu", 2, 1},
                                      {"instance_norm", 3, 1}};

static bool is_norm(const nnl_op *op) { return strstr(op->name, "_norm") != NULL; }

static int rank_of(const nnl_op *op, int input) {
    if (is_norm(op) && input > 0) return 1; // weight and bias
    if (strcmp(op->params[input].name, "bias") == 0) return 1;
    for (size_t i = 0; i < sizeof special_ranks / sizeof *special_ranks; i++) {
        if (strcmp(special_ranks[i].name, op->name) == 0) {
            return input == 0 ? special_ranks[i].first : special_ranks[i].second;
        }
    }
    if (strstr(op->name, "1d") || strcmp(op->name, "interpolate") == 0) return 3;
    return strstr(op->name, "2d") ? 4 : 2;
}

static nnl_shape cube(int ndim) {
    nnl_shape shape = {.ndim = ndim};
    for (int d = 0; d < ndim; d++) shape.size[d] = SIDE;
    return shape;
}

// Halves need even sizes.
static nnl_shape cube_for(const nnl_op *op, int ndim) {
    nnl_shape shape = cube(ndim);
    for (int d = 0; d < ndim && strcmp(op->name, "glu") == 0; d++) shape.size[d] = SIDE + 1;
    return shape;
}

// Values between 0.2 and 0.95 without order, all different, so that no extreme is tied and no logarithm
// fails.
static nnl_tensor *values(nnl_context *ctx, nnl_shape shape, int seed) {
    nnl_tensor *t = engine_steps(ctx, NNL_FLOAT64, shape, 0, 1);
    double *x = nnl_tensor_data(t);
    for (int64_t i = 0, n = nnl_tensor_numel(t); i < n; i++) {
        x[i] = 0.2 + 0.75 * fmod(0.618034 * (double)(i + 1) + 0.137 * seed, 1.0);
    }
    nnl_set_requires_grad(ctx, t, true);
    return t;
}

// A leaf, and a tensor of the wanted shape that looks at it in some layout.
static nnl_tensor *look(nnl_context *ctx, const nnl_op *op, nnl_tensor *leaf, layout how, int ndim) {
    nnl_shape shape = cube_for(op, ndim);
    if (how == TRANSPOSED && ndim >= 2) return nnl_transpose(ctx, leaf, ndim - 2, ndim - 1);
    if (how == EXPANDED) return nnl_expand(ctx, leaf, &shape);
    return nnl_tensor_retain(leaf);
}

static nnl_shape leaf_shape(const nnl_op *op, layout how, int ndim) {
    nnl_shape shape = cube_for(op, ndim);
    if (how == EXPANDED && ndim > 0) shape.size[0] = 1;
    return shape;
}

typedef struct trial {
    nnl_context *ctx;
    const nnl_op *op;
    layout how;
    int leaves;
    nnl_tensor *leaf[NNL_MAX_ARGS];
    nnl_tensor *other[NNL_MAX_ARGS]; // tensors without gradients: positions, masks
    int others;
    bool second; // the value is that of the gradients, and what is checked their derivative
} trial;

static bool is_named(const nnl_param *p, const char *name) { return strcmp(p->name, name) == 0; }

// Arguments that have no gradient: weights of losses; labels, positions and masks.
static bool is_constant(const nnl_op *op, const nnl_param *p) {
    bool loss = strstr(op->name, "entropy") != NULL || strcmp(op->name, "nll_loss") == 0;
    bool fixed = is_named(p, "target") && strcmp(op->name, "binary_cross_entropy_with_logits") == 0;
    bool running = strncmp(p->name, "running_", 8) == 0;
    return fixed || running || is_named(p, "pos_weight") || (is_named(p, "weight") && loss);
}

static bool is_data(const nnl_op *op, const nnl_param *p) {
    bool labels = strcmp(op->name, "cross_entropy") == 0 || strcmp(op->name, "nll_loss") == 0;
    bool classes = strcmp(op->name, "one_hot") == 0;
    bool rows = is_named(p, "input") && strcmp(op->name, "embedding") == 0;
    return classes || rows || is_named(p, "condition") || is_named(p, "mask") || is_named(p, "index") ||
           (is_named(p, "target") && labels) || is_constant(op, p);
}

// Labels and signs of losses that have a shape of their own; CTC's lengths are left out.
static bool is_special(const nnl_op *op, const nnl_param *p) {
    bool cosine = strcmp(op->name, "cosine_embedding_loss") == 0 && is_named(p, "target");
    bool ctc = strcmp(op->name, "ctc_loss") == 0 && !is_named(p, "log_probs");
    return p->kind == NNL_ARG_TENSOR && (cosine || ctc);
}

static nnl_tensor *special_tensor(nnl_context *ctx, const nnl_param *p) {
    static const int64_t signs[SIDE] = {1, -1, 1}, labels[SIDE] = {2, 3, 2};
    if (p->optional) return NULL;
    nnl_tensor *t = engine_steps(ctx, NNL_INT64, cube(1), 0, 0);
    memcpy(nnl_tensor_data(t), is_named(p, "target") ? signs : labels, sizeof signs);
    return t;
}

static nnl_tensor *constant(trial *t, nnl_tensor *made) { return t->other[t->others++] = made; }

// Tensors that are no operands: a mask of every other element, positions 1 3 2.
static nnl_tensor *argument_tensor(trial *t, const nnl_param *p) {
    nnl_shape shape = cube(2);
    if (is_special(t->op, p)) return constant(t, special_tensor(t->ctx, p));
    if (is_named(p, "weight") && strcmp(t->op->name, "linear") != 0) shape = cube(1);
    if (is_norm(t->op)) shape = cube(1);
    if (is_constant(t->op, p)) {
        return constant(t, engine_steps(t->ctx, NNL_FLOAT64, shape, 0.5, 0.1));
    }
    if (is_named(p, "condition") || is_named(p, "mask")) {
        nnl_tensor *mask = engine_steps(t->ctx, NNL_BOOL, shape, 0, 0);
        for (int i = 0; i < SIDE * SIDE; i += 2) ((uint8_t *)nnl_tensor_data(mask))[i] = 1;
        return constant(t, mask);
    }
    if (!is_data(t->op, p)) return NULL;
    if (is_named(p, "target") || strncmp(t->op->name, "index_", 6) == 0) shape = cube(1);
    nnl_tensor *index = engine_steps(t->ctx, NNL_INT64, shape, 1, 0);
    int64_t *at = nnl_tensor_data(index);
    for (int64_t i = 0, n = nnl_tensor_numel(index); i < n; i++) at[i] = (i / SIDE + i % SIDE * 2) % SIDE + 1;
    return constant(t, index);
}

static nnl_tensor *operand(trial *t) {
    int rank = rank_of(t->op, t->leaves);
    nnl_tensor *leaf = values(t->ctx, leaf_shape(t->op, t->how, rank), t->leaves);
    t->leaf[t->leaves++] = leaf;
    return leaf;
}

static nnl_shape shape_argument(const trial *t) {
    if (strcmp(t->op->name, "expand") == 0) return cube(2);
    if (is_norm(t->op)) return cube(1);
    if (strcmp(t->op->name, "unflatten") == 0) return (nnl_shape){.ndim = 2, .size = {SIDE, 1}};
    if (strcmp(t->op->name, "repeat_") == 0) return (nnl_shape){.ndim = 3, .size = {2, 1, 3}};
    if (strcmp(t->op->name, "tile") == 0) return (nnl_shape){.ndim = 1, .size = {2}};
    return (nnl_shape){.ndim = 1, .size = {-1}};
}

// One integer for windows and the like; 0 leaves the argument out.
static int64_t size_argument(const nnl_param *p) {
    static const struct {
        const char *name;
        int64_t size;
    } sizes[] = {{"kernel_size", 2}, {"output_size", 2}, {"padding", 1}, {"size", 5}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (is_named(p, sizes[i].name)) return sizes[i].size;
    }
    return 0;
}

// sum(op(...) * weights), the weights being different for every element so that no error can hide in the sum.
static nnl_tensor *weighted_sum(nnl_context *ctx, nnl_tensor *out) {
    nnl_tensor *weights = engine_steps(ctx, NNL_FLOAT64, out->shape, 0.5, 0.3);
    nnl_tensor *product = weights ? nnl_mul(ctx, out, weights) : NULL;
    nnl_tensor *sum = product ? nnl_sum(ctx, product, 0, NULL, false) : NULL;
    nnl_tensor_release(weights);
    nnl_tensor_release(product);
    return sum;
}

static int64_t two = 2;

static int64_t integer_argument(const nnl_param *p) {
    if (is_named(p, "num_classes")) return SIDE;
    return is_named(p, "size") || is_named(p, "chunks") ? 2 : 1; // windows of 2, 1 apart, overlap
}

static void fill_argument(trial *t, nnl_call *call, int i, nnl_tensor *const *inputs, int *used,
                          int *constants) {
    const nnl_param *p = &t->op->params[i];
    nnl_arg *arg = &call->arg[i];
    switch (p->kind) {
    case NNL_ARG_TENSOR:
    case NNL_ARG_OPERAND:
    case NNL_ARG_VALUE: {
        bool constant = is_data(t->op, p) || is_special(t->op, p);
        arg->tensor = constant ? t->other[(*constants)++] : inputs[(*used)++];
        arg->given = arg->tensor != NULL;
        break;
    }
    case NNL_ARG_TENSORS:
        arg->tensors = (nnl_tensor_list){(nnl_tensor **)inputs, 2};
        break;
    case NNL_ARG_NUMBER:
        if (is_named(p, "min")) *arg = (nnl_arg){.given = true, .number = nnl_number_float(0.5)};
        break;
    case NNL_ARG_INT:
        if (!is_named(p, "padding_idx")) arg->i = integer_argument(p); // a row without a gradient
        break;
    case NNL_ARG_INTS:
        *arg = (nnl_arg){.given = true, .is_number = true, .ints = {&two, 1}};
        break;
    case NNL_ARG_SIZES:
        if (is_named(p, "pad")) {
            *nnl_call_list(call, i) = (nnl_shape){.ndim = 2, .size = {2, -1}};
        } else if (size_argument(p) > 0) {
            *nnl_call_list(call, i) = (nnl_shape){.ndim = 1, .size = {size_argument(p)}};
        }
        break;
    case NNL_ARG_SHAPE:
        *nnl_call_list(call, i) = shape_argument(t);
        break;
    case NNL_ARG_DIMS:
        if (!p->optional) *nnl_call_list(call, i) = (nnl_shape){.ndim = 2, .size = {1, 0}};
        break;
    case NNL_ARG_TEXT:
        arg->text = "ij,jk->ki"; // einsum's equation
        break;
    case NNL_ARG_DTYPE:
        arg->i = NNL_FLOAT64;
        break;
    default:
        break;
    }
}

// sum(out^2 * weights): its gradient depends on the result too.
static nnl_tensor *weighted_square(nnl_context *ctx, nnl_tensor *out) {
    nnl_tensor *square = nnl_mul(ctx, out, out), *sum = square ? weighted_sum(ctx, square) : NULL;
    nnl_tensor_release(square);
    return sum;
}

// The sum over all the results of an operation that gives a list, each with a weight of its own.
static nnl_tensor *weighted_sum_of_list(nnl_context *ctx, nnl_tensor_list list, bool second) {
    nnl_tensor *total = NULL;
    for (size_t k = 0; k < list.count; k++) {
        nnl_tensor *sum = second ? weighted_square(ctx, list.items[k]) : weighted_sum(ctx, list.items[k]);
        nnl_tensor *share = sum ? nnl_mul_number(ctx, sum, (double)k + 1) : NULL;
        nnl_tensor *more = !share ? NULL : total ? nnl_add(ctx, total, share) : nnl_tensor_retain(share);
        nnl_tensor_release(sum);
        nnl_tensor_release(share);
        nnl_tensor_release(total);
        total = more;
        if (!more) break;
    }
    return total;
}

static nnl_tensor *loss_of(nnl_context *ctx, const nnl_call *call, bool second) {
    bool list = call->op->outputs == NNL_LIST_OUTPUT;
    if (list) return weighted_sum_of_list(ctx, call->results, second);
    return second ? weighted_square(ctx, call->out[0]) : weighted_sum(ctx, call->out[0]);
}

// A number that depends on the operation on the leaves as they are now. Returns new; NULL with the context's
// error.
static nnl_tensor *run_op(trial *t) {
    nnl_call call;
    nnl_tensor *inputs[NNL_MAX_ARGS] = {NULL};
    int used = 0, constants = 0;
    nnl_call_init(&call, t->op);
    nnl_random_seed(&t->ctx->random, 1); // the same dropout every time
    bool there = true;
    for (int k = 0; k < t->leaves; k++) {
        inputs[k] = look(t->ctx, t->op, t->leaf[k], t->how, rank_of(t->op, k));
        there = there && inputs[k];
    }
    for (int i = 0; i < NNL_MAX_ARGS && t->op->params[i].kind != NNL_ARG_END; i++) {
        fill_argument(t, &call, i, inputs, &used, &constants);
    }
    nnl_status status = there ? nnl_call_run(t->ctx, &call) : t->ctx->status;
    nnl_tensor *loss = status == NNL_OK ? loss_of(t->ctx, &call, t->second) : NULL;
    nnl_call_release_results(t->ctx, &call);
    for (int k = 0; k < NNL_MAX_OUTPUTS; k++) nnl_tensor_release(call.out[k]);
    for (int k = 0; k < t->leaves; k++) nnl_tensor_release(inputs[k]);
    return loss;
}

// A number that depends on the gradients of that. Takes loss.
static nnl_tensor *of_gradients(trial *t, nnl_tensor *loss) {
    const nnl_backward_options recorded = {true, true};
    nnl_tensor *grads[NNL_MAX_ARGS] = {NULL}, *total = NULL;
    if (!loss || !nnl_requires_grad(loss)) return loss;
    nnl_status status = nnl_grad(t->ctx, 1, &loss, NULL, (size_t)t->leaves, t->leaf, grads, &recorded);
    for (int k = 0; k < t->leaves; k++) {
        nnl_tensor *part = grads[k] ? weighted_sum(t->ctx, grads[k]) : NULL;
        nnl_tensor *sum = part && total ? nnl_add(t->ctx, total, part) : NULL;
        nnl_tensor_release(grads[k]);
        if (!part) continue;
        if (total) nnl_tensor_release(part);
        nnl_tensor_release(sum ? total : NULL);
        total = sum ? sum : part;
    }
    nnl_tensor_release(loss);
    return status == NNL_OK ? total : NULL;
}

static nnl_tensor *run(trial *t) { return t->second ? of_gradients(t, run_op(t)) : run_op(t); }

static double value_of(trial *t) {
    nnl_tensor *loss = run(t);
    double value = loss ? engine_item(loss, 0) : NAN;
    nnl_tensor_release(loss);
    return value;
}

static void compare(trial *t, int k) {
    const nnl_tensor *grad = nnl_grad_get(t->leaf[k]);
    double *x = nnl_tensor_data(t->leaf[k]);
    for (int64_t i = 0, n = nnl_tensor_numel(t->leaf[k]); i < n; i++) {
        double kept = x[i];
        x[i] = kept + STEP;
        double above = value_of(t);
        x[i] = kept - STEP;
        double below = value_of(t);
        x[i] = kept;
        double expected = (above - below) / (2 * STEP), got = grad ? engine_item(grad, i) : 0;
        CHECK_MESSAGE(fabs(got - expected) <= 1e-6 + 1e-5 * fabs(expected) + (t->second ? 1e-5 : 0),
                      "%s, %s%s, input %d, element %d: %g, expected %g", t->op->name, layout_names[t->how],
                      t->second ? ", second derivative" : "", k + 1, (int)i + 1, got, expected);
    }
}

static nnl_status walk(trial *t) {
    const nnl_backward_options options = {false, false};
    nnl_tensor *loss = run(t);
    nnl_status status = loss ? NNL_OK : t->ctx->status;
    if (loss && nnl_requires_grad(loss)) status = nnl_backward(t->ctx, loss, NULL, &options);
    nnl_tensor_release(loss);
    for (int k = 0; k < t->leaves; k++) nnl_grad_set(t->ctx, t->leaf[k], NULL);
    return status;
}

// Whichever allocation of forward and backward fails: an error, and nothing stays.
static void check_failures(trial *t) {
    nnl_context *ctx = t->ctx;
    if (walk(t) != NNL_OK) return; // views keep the gradient's place of their leaf from here on
    int64_t live = ctx->live_tensors;
    size_t bytes = ctx->allocator.stats.live;
    for (int64_t k = 0;; k++) {
        ctx->allocator.fail_after = k;
        nnl_status status = walk(t);
        bool failed = ctx->allocator.fail_after < 0;
        ctx->allocator.fail_after = -1;
        if (!failed) return;
        CHECK_MESSAGE(status == NNL_ERR_MEMORY, "%s, allocation %d: %s", t->op->name, (int)k, ctx->error);
        CHECK_MESSAGE(ctx->live_tensors == live && ctx->allocator.stats.live == bytes,
                      "%s, allocation %d leaks", t->op->name, (int)k);
    }
}

static void check_op(nnl_context *ctx, const nnl_op *op, layout how, bool second) {
    trial t = {.ctx = ctx, .op = op, .how = how, .second = second};
    const nnl_backward_options options = {false, false};
    for (int i = 0; i < NNL_MAX_ARGS && op->params[i].kind != NNL_ARG_END; i++) {
        nnl_arg_kind kind = op->params[i].kind;
        bool tensor = kind == NNL_ARG_TENSOR || kind == NNL_ARG_OPERAND || kind == NNL_ARG_VALUE;
        if (tensor && !argument_tensor(&t, &op->params[i]) && !is_special(op, &op->params[i])) operand(&t);
        if (kind == NNL_ARG_TENSORS) operand(&t), operand(&t);
    }
    nnl_tensor *loss = run(&t);
    CHECK_MESSAGE(loss != NULL, "%s, %s: %s", op->name, layout_names[how], ctx->error);
    if (loss && nnl_requires_grad(loss)) {
        CHECK_MESSAGE(nnl_backward(ctx, loss, NULL, &options) == NNL_OK, "%s: %s", op->name, ctx->error);
        for (int k = 0; k < t.leaves; k++) compare(&t, k);
    }
    nnl_tensor_release(loss);
    if (!second) check_failures(&t);
    for (int k = 0; k < t.leaves; k++) nnl_tensor_release(t.leaf[k]);
    for (int k = 0; k < t.others; k++) nnl_tensor_release(t.other[k]);
}

// Casts to other dtypes lose the digits that finite differences need; a view is refused for strides that
// forbid it.
static bool is_checked(const nnl_op *op, layout how) {
    static const char *const casts[] = {"float", "half", "bfloat16", "long", "int", "byte", "bool"};
    for (size_t i = 0; i < sizeof casts / sizeof *casts; i++) {
        if (strcmp(op->name, casts[i]) == 0) return false;
    }
    bool refused = strcmp(op->name, "view") == 0 && how != CONTIGUOUS;
    return (op->flags & (NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_FUNCTIONAL)) && op->outputs != 0 &&
           !refused;
}

// CTC's gradient is made in its forward pass and has none of its own, as everywhere.
static bool has_second(const nnl_op *op) { return strcmp(op->name, "ctc_loss") != 0; }

int main(void) {
    nnl_context *ctx = engine_new();
    nnl_op_cursor cursor = {0, 0};
    const nnl_op *op;
    while ((op = nnl_ops_next(&cursor)) != NULL) {
        check_that(op->name);
        for (int how = 0; how < LAYOUTS; how++) {
            if (!is_checked(op, (layout)how)) continue;
            check_op(ctx, op, (layout)how, false);
            if (has_second(op)) check_op(ctx, op, (layout)how, true);
        }
        CHECK_MESSAGE(ctx->live_tensors == 0, "%s: %d tensors stay", op->name, (int)ctx->live_tensors);
    }
    nnl_context_release(ctx);
    return check_end();
}
