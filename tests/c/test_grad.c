// test_grad.c: the graph and its walk without Lua: values, errors, memory given back, failing allocations.
#include "engine.h"

#include <math.h>
#include <string.h>

static const nnl_backward_options plain = {false, false}, retaining = {true, false}, recorded = {true, true};

static nnl_tensor *leaf(nnl_context *ctx, nnl_shape shape, double first, double step) {
    nnl_tensor *t = engine_steps(ctx, NNL_FLOAT32, shape, first, step);
    nnl_set_requires_grad(ctx, t, true);
    return t;
}

// sum(tanh(a b)), new
static nnl_tensor *small_loss(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b) {
    nnl_tensor *product = nnl_matmul(ctx, a, b);
    nnl_tensor *squashed = product ? nnl_unary_op(ctx, NNL_UNARY_tanh, product, NULL) : NULL;
    nnl_tensor *loss = squashed ? nnl_sum(ctx, squashed, 0, NULL, false) : NULL;
    nnl_tensor_release(product);
    nnl_tensor_release(squashed);
    return loss;
}

static void test_values(nnl_context *ctx) {
    check_that("the gradient of sum(x * x) is 2 x, and adds up over two walks");
    nnl_tensor *x = leaf(ctx, engine_matrix(2, 2), 1, 1);
    for (int walk = 1; walk <= 2; walk++) {
        nnl_tensor *square = nnl_mul(ctx, x, x), *sum = nnl_sum(ctx, square, 0, NULL, false);
        CHECK_MESSAGE(nnl_backward(ctx, sum, NULL, &plain) == NNL_OK, "%s", ctx->error);
        for (int i = 0; i < 4; i++)
            CHECK_MESSAGE(engine_item(nnl_grad_get(x), i) == walk * 2.0 * (i + 1), "element %d", i);
        nnl_tensor_release(square);
        nnl_tensor_release(sum);
    }
    nnl_tensor_release(x);
}

static void test_broadcast(nnl_context *ctx) {
    check_that("what was broadcast gets the sum of its gradients");
    nnl_tensor *x = leaf(ctx, engine_matrix(3, 2), 1, 1);
    nnl_tensor *row = leaf(ctx, (nnl_shape){.ndim = 1, .size = {2}}, 1, 1);
    nnl_tensor *product = nnl_mul(ctx, x, row), *sum = nnl_sum(ctx, product, 0, NULL, false);
    CHECK_MESSAGE(nnl_backward(ctx, sum, NULL, &plain) == NNL_OK, "%s", ctx->error);
    CHECK_MESSAGE(engine_item(nnl_grad_get(row), 0) == 1 + 3 + 5, "first");
    CHECK_MESSAGE(engine_item(nnl_grad_get(row), 1) == 2 + 4 + 6, "second");
    nnl_tensor *all[] = {x, row, product, sum};
    for (int i = 0; i < 4; i++) nnl_tensor_release(all[i]);
}

static void test_second_walk(nnl_context *ctx) {
    check_that("a second walk through a freed graph is an error that says so, unless the first retained it");
    nnl_tensor *x = leaf(ctx, engine_matrix(2, 2), 0.1, 0.1), *loss = small_loss(ctx, x, x);
    CHECK_MESSAGE(nnl_backward(ctx, loss, NULL, &retaining) == NNL_OK, "%s", ctx->error);
    CHECK_MESSAGE(nnl_backward(ctx, loss, NULL, &plain) == NNL_OK, "%s", ctx->error);
    CHECK_MESSAGE(nnl_backward(ctx, loss, NULL, &plain) == NNL_ERR_STATE, "no error");
    CHECK_MESSAGE(strstr(ctx->error, "retain_graph") != NULL, "%s", ctx->error);
    nnl_tensor_release(loss);
    nnl_tensor_release(x);
}

static void test_changed_value(nnl_context *ctx) {
    check_that("a change in place of a value that backward needs is an error at backward");
    nnl_tensor *x = leaf(ctx, engine_matrix(2, 2), 1, 1), *y = nnl_mul_number(ctx, x, 2),
               *z = nnl_mul(ctx, y, y);
    nnl_tensor *sum = nnl_sum(ctx, z, 0, NULL, false);
    nnl_apply_fill(y, nnl_number_int(0));
    nnl_tensor_changed(y);
    CHECK_MESSAGE(nnl_backward(ctx, sum, NULL, &plain) == NNL_ERR_STATE, "no error");
    CHECK_MESSAGE(strstr(ctx->error, "changed in place") != NULL, "%s", ctx->error);
    nnl_tensor *all[] = {x, y, z, sum};
    for (int i = 0; i < 4; i++) nnl_tensor_release(all[i]);
}

static void test_second_derivative(nnl_context *ctx) {
    check_that("a recorded walk gives second derivatives: of tanh, -2 tanh (1 - tanh^2)");
    nnl_tensor *x = leaf(ctx, engine_matrix(1, 3), 0.2, 0.3);
    nnl_tensor *y = nnl_unary_op(ctx, NNL_UNARY_tanh, x, NULL), *sum = nnl_sum(ctx, y, 0, NULL, false);
    nnl_tensor *first[1], *second[1];
    CHECK_MESSAGE(nnl_grad(ctx, 1, &sum, NULL, 1, &x, first, &recorded) == NNL_OK, "%s", ctx->error);
    nnl_tensor *total = nnl_sum(ctx, first[0], 0, NULL, false);
    CHECK_MESSAGE(nnl_grad(ctx, 1, &total, NULL, 1, &x, second, &plain) == NNL_OK, "%s", ctx->error);
    for (int i = 0; i < 3; i++) {
        double t = tanh(0.2 + 0.3 * i);
        CHECK_MESSAGE(fabs(engine_item(second[0], i) + 2 * t * (1 - t * t)) < 1e-5, "element %d", i);
    }
    CHECK_MESSAGE(nnl_grad_get(x) == NULL, "nnl_grad touched .grad");
    nnl_tensor *all[] = {x, y, sum, first[0], total, second[0]};
    for (int i = 0; i < 6; i++) nnl_tensor_release(all[i]);
}

static void test_long_chain(nnl_context *ctx) {
    check_that("a chain of 200,000 operations is walked and freed without deep recursion");
    nnl_tensor *x = leaf(ctx, engine_matrix(1, 1), 1, 0), *y = nnl_tensor_retain(x);
    for (int i = 0; i < 200000; i++) {
        nnl_tensor *next = nnl_add_number(ctx, y, 1);
        nnl_tensor_release(y);
        y = next;
    }
    nnl_tensor *again = nnl_add_number(ctx, y, 1);
    CHECK_MESSAGE(nnl_backward(ctx, y, NULL, &plain) == NNL_OK, "%s", ctx->error);
    CHECK_MESSAGE(engine_item(nnl_grad_get(x), 0) == 1, "gradient");
    nnl_tensor_release(again);
    nnl_tensor_release(y);
    nnl_tensor_release(x);
}

static nnl_status step(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b) {
    nnl_tensor *loss = small_loss(ctx, a, b);
    nnl_status status = loss ? nnl_backward(ctx, loss, NULL, &plain) : ctx->status;
    nnl_tensor_release(loss);
    nnl_grad_set(ctx, a, NULL);
    nnl_grad_set(ctx, b, NULL);
    return status;
}

// Under AddressSanitizer nothing is kept for reuse, so that it sees every use after a release.
#if defined(__SANITIZE_ADDRESS__)
#define KEEPS_MEMORY false
#elif defined(__has_feature)
#define KEEPS_MEMORY (!__has_feature(address_sanitizer))
#else
#define KEEPS_MEMORY true
#endif

static void test_steady_state(nnl_context *ctx) {
    check_that("in the steady state a step takes no memory from the system");
    nnl_tensor *a = leaf(ctx, engine_matrix(8, 8), 0, 0.01), *b = leaf(ctx, engine_matrix(8, 8), 0, 0.01);
    for (int i = 0; i < 3; i++) CHECK_MESSAGE(step(ctx, a, b) == NNL_OK, "%s", ctx->error);
    uint64_t before = ctx->allocator.stats.system;
    for (int i = 0; i < 100; i++) CHECK_MESSAGE(step(ctx, a, b) == NNL_OK, "%s", ctx->error);
    CHECK_MESSAGE(!KEEPS_MEMORY || ctx->allocator.stats.system == before, "%d calls",
                  (int)(ctx->allocator.stats.system - before));
    nnl_tensor_release(a);
    nnl_tensor_release(b);
}

// The same after the product of the two was changed through a view, and the gradient of its gradient.
static nnl_status in_place_step(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b) {
    nnl_tensor *x = nnl_mul(ctx, a, b), *row = x ? nnl_select(ctx, x, 0, 1) : NULL;
    nnl_tensor *other = row ? nnl_transpose(ctx, x, 0, 1) : NULL, *loss = NULL, *grads[2] = {NULL, NULL};
    nnl_status status = other ? nnl_assign_number(ctx, row, NULL, nnl_number_int(2)) : ctx->status;
    if (status == NNL_OK) status = nnl_assign(ctx, other, NULL, a);
    nnl_call call;
    nnl_call_init(&call, nnl_op_named("tanh"));
    call.arg[0].tensor = call.into = x;
    if (status == NNL_OK) status = nnl_call_run(ctx, &call);
    nnl_tensor_release(call.out[0]);
    if (status == NNL_OK) loss = small_loss(ctx, other, x);
    nnl_tensor *const inputs[] = {a, b};
    status = loss ? nnl_grad(ctx, 1, &loss, NULL, 2, inputs, grads, &recorded) : ctx->status;
    nnl_tensor *second = status == NNL_OK ? small_loss(ctx, grads[0], grads[0]) : NULL;
    status = second ? nnl_backward(ctx, second, NULL, &plain) : ctx->status;
    nnl_tensor *made[] = {x, row, other, loss, grads[0], grads[1], second};
    for (int k = 0; k < 7; k++) nnl_tensor_release(made[k]);
    nnl_grad_set(ctx, a, NULL);
    nnl_grad_set(ctx, b, NULL);
    return status;
}

static void fail_each_allocation(nnl_context *ctx,
                                 nnl_status (*run)(nnl_context *, nnl_tensor *, nnl_tensor *)) {
    nnl_tensor *a = leaf(ctx, engine_matrix(4, 4), 0, 0.01), *b = leaf(ctx, engine_matrix(4, 4), 0, 0.01);
    CHECK_MESSAGE(run(ctx, a, b) == NNL_OK, "%s", ctx->error);
    int64_t live = ctx->live_tensors;
    size_t bytes = ctx->allocator.stats.live;
    int failures = 0;
    for (int64_t k = 0;; k++) {
        ctx->allocator.fail_after = k;
        nnl_status status = run(ctx, a, b);
        bool failed = ctx->allocator.fail_after < 0 && status != NNL_OK;
        ctx->allocator.fail_after = -1;
        if (!failed) break;
        failures++;
        CHECK_MESSAGE(status == NNL_ERR_MEMORY, "allocation %d: %s", (int)k, ctx->error);
        CHECK_MESSAGE(ctx->live_tensors == live, "allocation %d leaks tensors", (int)k);
        CHECK_MESSAGE(ctx->allocator.stats.live == bytes, "allocation %d leaks memory", (int)k);
        CHECK_MESSAGE(run(ctx, a, b) == NNL_OK, "after allocation %d: %s", (int)k, ctx->error);
    }
    CHECK_MESSAGE(failures > 10, "only %d allocations", failures);
    nnl_tensor_release(a);
    nnl_tensor_release(b);
}

static void test_failing_allocations(nnl_context *ctx) {
    check_that("when any one allocation of a step fails there is an error, no leak, and the next step works");
    fail_each_allocation(ctx, step);
    check_that("and so it is with changes in place through views, and derivatives of derivatives");
    fail_each_allocation(ctx, in_place_step);
}

int main(void) {
    nnl_context *ctx = engine_new();
    void (*const tests[])(nnl_context *) = {test_values,        test_broadcast,          test_second_walk,
                                            test_changed_value, test_second_derivative,  test_long_chain,
                                            test_steady_state,  test_failing_allocations};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        int64_t live = ctx->live_tensors;
        tests[i](ctx);
        CHECK_MESSAGE(ctx->live_tensors == live, "%d tensors stay", (int)(ctx->live_tensors - live));
    }
    check_that("at the end nothing is left");
    CHECK_MESSAGE(ctx->live_tensors == 0 && ctx->allocator.stats.live == 0, "%zu bytes",
                  ctx->allocator.stats.live);
    nnl_context_release(ctx);
    return check_end();
}
