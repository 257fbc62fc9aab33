// test_conv.c: convolution and pooling by the kernels of every instruction set of this processor, against
// plain loops. Numbers are eighths, so that all sums are exact and every way to add them up gives the same.
#include "check.h"
#include "kernel/conv.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char *const sets[] = {"baseline", "neon", "avx2", "avx512", "avx512_bf16"};

// batch, groups, in, out, size, kernel, stride, dilation, padding before and after
typedef struct problem {
    size_t batch, groups, in, out, size[2], kernel[2], stride[2], dilation[2], before[2], after[2];
} problem;

static const problem problems[] = {
    {2, 1, 3, 5, {7, 6}, {3, 3}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 1, 1, 1, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 1, 1, 9, {20, 40}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {9, 1, 2, 13, {9, 35}, {3, 5}, {1, 1}, {1, 1}, {1, 2}, {1, 2}},
    {2, 2, 2, 3, {8, 8}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
    {1, 6, 1, 1, {10, 37}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 1, 3, 4, {13, 17}, {2, 3}, {3, 2}, {2, 3}, {2, 1}, {0, 3}},
    {3, 1, 8, 7, {5, 5}, {1, 1}, {2, 2}, {1, 1}, {0, 0}, {0, 0}},
    {1, 1, 2, 3, {6, 5}, {4, 4}, {1, 1}, {1, 1}, {3, 3}, {3, 3}},
    {1, 1, 4, 2, {1, 90}, {1, 5}, {1, 4}, {1, 2}, {0, 1}, {0, 2}},
    {2, 1, 16, 23, {9, 11}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 2, 16, 17, {8, 39}, {3, 3}, {1, 1}, {1, 1}, {2, 0}, {2, 0}},
    {1, 1, 17, 16, {45, 64}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {2, 1, 18, 24, {12, 16}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 1, 16, 16, {32, 32}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {2, 1, 16, 16, {8, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {2, 1, 6, 20, {16, 20}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
    {1, 1, 5, 50, {9, 12}, {1, 1}, {3, 3}, {1, 1}, {0, 0}, {0, 0}},
    {3, 2, 20, 9, {9, 70}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
};

static nnl_conv_shape shape_of(const problem *p) {
    nnl_conv_shape s = {.batch = p->batch, .groups = p->groups, .in = p->in, .out = p->out};
    for (int d = 0; d < 2; d++) {
        s.size[d] = p->size[d];
        s.kernel[d] = p->kernel[d];
        s.stride[d] = p->stride[d];
        s.dilation[d] = p->dilation[d];
        s.padding[d] = (ptrdiff_t)p->before[d];
        size_t padded = p->size[d] + p->before[d] + p->after[d];
        s.result[d] = (padded - (p->kernel[d] - 1) * p->dilation[d] - 1) / p->stride[d] + 1;
    }
    return s;
}

typedef struct arrays {
    size_t x, y, weight; // elements
} arrays;

static arrays arrays_of(const nnl_conv_shape *s) {
    return (arrays){s->batch * s->groups * s->in * s->size[0] * s->size[1],
                    s->batch * s->groups * s->out * s->result[0] * s->result[1],
                    s->groups * s->out * s->in * s->kernel[0] * s->kernel[1]};
}

// Of exactly these bytes, so that a checker of memory sees a read behind them.
static double *eighths(size_t count, uint32_t state) {
    double *x = malloc(count * sizeof *x);
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (double)(state >> 28) / 8 - 1;
    }
    return x;
}

static void *as_type(const double *x, size_t count, nnl_compute type) {
    size_t element = type == NNL_IN_FLOAT ? sizeof(float) : sizeof(double);
    char *out = malloc(count * element);
    for (size_t i = 0; i < count; i++) {
        if (type == NNL_IN_FLOAT) ((float *)(void *)out)[i] = (float)x[i];
        if (type != NNL_IN_FLOAT) ((double *)(void *)out)[i] = x[i];
    }
    return out;
}

typedef void visitor(double *a, const double *b, const double *c, size_t x, size_t y, size_t weight);

static void add_to_y(double *out, const double *x, const double *w, size_t at_x, size_t at_y, size_t at_w) {
    out[at_y] += x[at_x] * w[at_w];
}

static void add_to_x(double *out, const double *y, const double *w, size_t at_x, size_t at_y, size_t at_w) {
    out[at_x] += y[at_y] * w[at_w];
}

static void add_to_weight(double *out, const double *x, const double *y, size_t at_x, size_t at_y,
                          size_t at_w) {
    out[at_w] += x[at_x] * y[at_y];
}

// Every product of an element of x, one of the weight and one of y that a convolution joins, for one result.
static void visit_result(const nnl_conv_shape *s, size_t image, size_t o, size_t i, size_t j, visitor *visit,
                         double *a, const double *b, const double *c) {
    size_t y = ((image * s->out + o) * s->result[0] + i) * s->result[1] + j;
    size_t filter = (image % s->groups * s->out + o) * s->in, area = s->kernel[0] * s->kernel[1];
    for (size_t k = 0; k < s->in * area; k++) {
        size_t row = i * s->stride[0] + k % area / s->kernel[1] * s->dilation[0] - (size_t)s->padding[0];
        size_t column = j * s->stride[1] + k % s->kernel[1] * s->dilation[1] - (size_t)s->padding[1];
        if (row >= s->size[0] || column >= s->size[1]) continue; // what is below 0 has wrapped around
        size_t x = ((image * s->in + k / area) * s->size[0] + row) * s->size[1] + column;
        visit(a, b, c, x, y, filter * area + k);
    }
}

static void visit_all(const nnl_conv_shape *s, visitor *visit, double *a, const double *b, const double *c) {
    for (size_t image = 0; image < s->batch * s->groups; image++)
        for (size_t o = 0; o < s->out; o++)
            for (size_t i = 0; i < s->result[0]; i++)
                for (size_t j = 0; j < s->result[1]; j++) visit_result(s, image, o, i, j, visit, a, b, c);
}

static size_t differences(const void *got, const double *expected, size_t count, nnl_compute type) {
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        double value = type == NNL_IN_FLOAT ? (double)((const float *)got)[i] : ((const double *)got)[i];
        wrong += value != expected[i];
    }
    return wrong;
}

// Eighths and what tiles make of them are whole in bfloat16 too.
static void check_kind(const nnl_kernels *kernels, nnl_pool *pool, nnl_compute type, bool mixed,
                       nnl_conv_kind kind, const nnl_conv_shape *s, size_t number) {
    static visitor *const visitors[] = {add_to_y, add_to_x, add_to_weight};
    arrays n = arrays_of(s);
    size_t sizes[][3] = {{n.x, n.weight, n.y}, {n.y, n.weight, n.x}, {n.x, n.y, n.weight}};
    const size_t *size = sizes[kind];
    double *a = eighths(size[0], 1), *b = eighths(size[1], 2), *expected = calloc(size[2], sizeof *expected);
    void *first = as_type(a, size[0], type), *second = as_type(b, size[1], type);
    void *out = as_type(expected, size[2], type);
    nnl_conv_plan plan;
    visit_all(s, visitors[kind], expected, a, b);
    nnl_conv_plan_init(&plan, kernels, pool, type, mixed, kind, s);
    void *room = aligned_alloc(64, (plan.room + 63) / 64 * 64);
    memset(room, 0xff, plan.room); // NaN wherever nothing was written
    nnl_conv_run(&plan, first, second, NULL, out, room);
    size_t wrong = differences(out, expected, size[2], type);
    CHECK_MESSAGE(wrong == 0, "%s, problem %d, kind %d, type %d, mixed %d: %d of %d are wrong", kernels->isa,
                  (int)number + 1, (int)kind, (int)type, mixed, (int)wrong, (int)size[2]);
    void *all[] = {a, b, expected, first, second, out, room};
    for (size_t i = 0; i < COUNT(all); i++) free(all[i]);
}

static void test_convolutions(const nnl_kernels *kernels, nnl_pool *pool) {
    check_that("convolutions and their gradients are what plain loops give");
    for (size_t i = 0; i < COUNT(problems); i++) {
        nnl_conv_shape shape = shape_of(&problems[i]);
        for (int kind = 0; kind < 3; kind++) {
            check_kind(kernels, pool, NNL_IN_FLOAT, false, (nnl_conv_kind)kind, &shape, i);
            check_kind(kernels, pool, NNL_IN_FLOAT, true, (nnl_conv_kind)kind, &shape, i);
            check_kind(kernels, pool, NNL_IN_DOUBLE, true, (nnl_conv_kind)kind, &shape, i);
        }
    }
}

// ---- pooling

#define SIDE 23

static nnl_axis windows(int32_t *start, int32_t *end, int32_t kernel, int32_t stride, int32_t padding) {
    nnl_axis axis = {.size = SIDE,
                     .result = (SIDE + 2 * padding - kernel) / stride + 1,
                     .start = start,
                     .end = end,
                     .step = 1,
                     .kernel = kernel,
                     .stride = stride,
                     .padding = padding};
    for (int32_t o = 0; o < axis.result; o++) {
        int32_t first = o * stride - padding, last = first + kernel;
        start[o] = first < 0 ? 0 : first;
        end[o] = last > SIDE ? SIDE : last;
    }
    return axis;
}

static void test_pooling(const nnl_kernels *kernels) {
    check_that("the largest of even windows is that of each window by itself");
    double *x = eighths(SIDE * SIDE, 3);
    float *image = as_type(x, SIDE * SIDE, NNL_IN_FLOAT), y[2][SIDE * SIDE];
    int32_t start[SIDE], end[SIDE], at[2][SIDE * SIDE];
    for (int32_t stride = 1; stride <= 3; stride++) {
        nnl_axis axis = windows(start, end, 3, stride, 1), uneven = axis;
        size_t count = (size_t)(axis.result * axis.result);
        uneven.stride = 0;
        kernels->resample->max[NNL_IN_FLOAT]((const nnl_axis[]){axis, axis}, y[0], at[0], image);
        kernels->resample->max[NNL_IN_FLOAT]((const nnl_axis[]){uneven, uneven}, y[1], at[1], image);
        CHECK_MESSAGE(memcmp(y[0], y[1], count * sizeof **y) == 0, "%s, stride %d", kernels->isa,
                      (int)stride);
        CHECK_MESSAGE(memcmp(at[0], at[1], count * sizeof **at) == 0, "%s, stride %d", kernels->isa,
                      (int)stride);
    }
    free(x);
    free(image);
}

int main(void) {
    nnl_pool *pool = nnl_pool_new(3);
    for (size_t i = 0; i < COUNT(sets); i++) {
        const nnl_kernels *kernels = nnl_kernels_named(sets[i]);
        if (!kernels) continue;
        test_convolutions(kernels, pool);
        test_pooling(kernels);
    }
    nnl_pool_free(pool);
    return check_end();
}
