// apply.c: elementwise kernels over tensors of any strides and dtypes: a job describes the operands, a row of
// the walk (loop.h) runs the kernel on the memory itself where it can, else block by block through buffers.
#include "tensor/apply.h"
#include "tensor/loop.h"

#include <string.h>

#define BLOCK 512

// Results of so many bytes, with what they are made of, are more than a core's share of the caches. They go
// to memory in small blocks, so that reading and writing overlap.
#define STREAM_LEAST (16u << 20)
#define STREAM_BLOCK 64 // doubles

#define INPUTS (NNL_LOOP_OPERANDS - 1)

// Of two arrays; of a number and an array; of an array and a number.
enum { BOTH_ARRAYS, NUMBER_FIRST, NUMBER_SECOND, BINARY_FORMS };

typedef union kernel {
    nnl_unary_fn *unary;
    nnl_unary_grad_fn *unary_grad;
    nnl_unary_grad2_fn *unary_grad2;
    nnl_binary_fn *binary[BINARY_FORMS];
    nnl_compare_fn *compare;
    nnl_test_fn *test;
} kernel;

typedef struct job job;
typedef void call_fn(const job *j, size_t n, void *out, const void *const *in, int form);

struct job {
    call_fn *call;
    kernel kernel;
    const double *p;
    int inputs;
    bool out_direct;       // out's memory is an array of such results
    nnl_store_fn *store;   // for where it is not
    bool light;            // memory is what it waits for
    nnl_stream_fn *stream; // for results that no cache would hold, else NULL
    nnl_streamed_fn *streamed;
    bool direct[INPUTS];        // the memory is an array of the compute type
    nnl_load_fn *load[INPUTS];  // for where it is not
    size_t element[INPUTS + 1]; // bytes of one element in memory, out first
};

static void call_unary(const job *j, size_t n, void *out, const void *const *in, int form) {
    (void)form;
    j->kernel.unary(n, out, in[0], j->p);
}

static void call_unary_grad(const job *j, size_t n, void *out, const void *const *in, int form) {
    (void)form;
    j->kernel.unary_grad(n, out, in[0], in[1], in[2], j->p);
}

static void call_unary_grad2(const job *j, size_t n, void *out, const void *const *in, int form) {
    (void)form;
    j->kernel.unary_grad2(n, out, in[0], in[1], in[2], in[3], j->p);
}

static void call_binary(const job *j, size_t n, void *out, const void *const *in, int form) {
    j->kernel.binary[form](n, out, in[0], in[1]);
}

static void call_compare(const job *j, size_t n, void *out, const void *const *in, int form) {
    (void)form;
    j->kernel.compare(n, out, in[0], in[1]);
}

static void call_test(const job *j, size_t n, void *out, const void *const *in, int form) {
    (void)form;
    j->kernel.test(n, out, in[0]);
}

// The compute type's values of one block of an input: in its own memory, or loaded into the buffer. A
// repeated element (stride 0) is loaded for the first block only.
static const void *block_of(const job *j, int k, size_t at, size_t n, char *data, int64_t stride,
                            double *buffer) {
    if (j->direct[k] && stride == 1) return data + at * j->element[k + 1];
    if (stride == 0 && at > 0) return buffer;
    j->load[k](n, buffer, data + (int64_t)at * stride * (int64_t)j->element[k + 1], stride);
    return buffer;
}

static void run_block(const job *j, size_t at, size_t n, char *const *data, const int64_t *stride,
                      double (*buffer)[BLOCK]) {
    const void *in[INPUTS];
    for (int k = 0; k < j->inputs; k++)
        in[k] = block_of(j, k, at, n, data[k + 1], stride[k + 1], buffer[k + 1]);
    char *out = data[0] + (int64_t)at * stride[0] * (int64_t)j->element[0];
    if (j->out_direct && stride[0] == 1) {
        j->call(j, n, out, in, BOTH_ARRAYS);
    } else {
        j->call(j, n, buffer[0], in, BOTH_ARRAYS);
        j->store(n, out, stride[0], buffer[0]);
    }
}

// Which operand is the same number all along the row.
static int binary_form(const job *j, const int64_t *stride) {
    if (j->call != call_binary || stride[1] == stride[2]) return BOTH_ARRAYS;
    return stride[1] == 0 ? NUMBER_FIRST : stride[2] == 0 ? NUMBER_SECOND : BOTH_ARRAYS;
}

static bool row_is_direct(const job *j, const int64_t *stride, int form) {
    bool direct = j->out_direct && stride[0] == 1;
    for (int k = 0; k < j->inputs; k++)
        direct = direct && j->direct[k] && (stride[k + 1] == 1 || form == k + NUMBER_FIRST);
    return direct;
}

// n elements from `at` on, of a direct row.
static void run_stretch(const job *j, size_t at, size_t n, void *out, char *const *data,
                        const int64_t *stride, int form) {
    const void *in[INPUTS];
    for (int k = 0; k < j->inputs; k++) in[k] = data[k + 1] + at * (size_t)stride[k + 1] * j->element[k + 1];
    if (n > 0) j->call(j, n, out, in, form);
}

// A direct row whose results no cache would hold: they go past the caches, block by block by way of a buffer.
// The memory to be overwritten need not be read then, a third of the traffic.
static void stream_row(const job *j, size_t n, char *const *data, const int64_t *stride, int form) {
    _Alignas(NNL_LINE) double buffer[STREAM_BLOCK];
    size_t size = j->element[0], count = sizeof buffer / size, at = -(uintptr_t)data[0] % NNL_LINE / size;
    if (at > n) at = n;
    run_stretch(j, 0, at, data[0], data, stride, form);
    for (; n - at >= count; at += count) {
        run_stretch(j, at, count, buffer, data, stride, form);
        j->stream(sizeof buffer, data[0] + at * size, buffer);
    }
    run_stretch(j, at, n - at, data[0] + at * size, data, stride, form);
    j->streamed();
}

static void run_row(void *arg, size_t n, char *const *data, const int64_t *stride) {
    const job *j = arg;
    int form = binary_form(j, stride);
    if (row_is_direct(j, stride, form)) {
        if (j->stream)
            stream_row(j, n, data, stride, form);
        else
            j->call(j, n, data[0], (const void *const *)(data + 1), form);
        return;
    }
    double buffer[INPUTS + 1][BLOCK];
    for (size_t at = 0; at < n; at += BLOCK)
        run_block(j, at, n - at < BLOCK ? n - at : BLOCK, data, stride, buffer);
}

static bool same_layout(const nnl_tensor *a, const nnl_tensor *b) {
    return nnl_shape_equal(&a->shape, &b->shape) && nnl_tensor_is_contiguous(b);
}

// Contiguous operands of one shape need no walk at all.
static bool run_whole(job *j, const nnl_tensor *const *tensors, int64_t numel) {
    if (numel >= NNL_LOOP_LEAST || !j->out_direct || !nnl_tensor_is_contiguous(tensors[0])) return false;
    const void *in[INPUTS];
    for (int k = 0; k < j->inputs; k++) {
        if (!j->direct[k] || !same_layout(tensors[0], tensors[k + 1])) return false;
        in[k] = nnl_tensor_data(tensors[k + 1]);
    }
    j->call(j, (size_t)numel, nnl_tensor_data(tensors[0]), in, BOTH_ARRAYS);
    return true;
}

// Whether the memory is an array of the dtype in the order of the shape, and small enough for one thread:
// most calls of scripts are such, and the kernel's own time hardly more than that of asking.
static inline bool is_plain(const nnl_tensor *t, nnl_dtype dtype, const nnl_shape *shape) {
    return t->dtype == dtype && nnl_shape_equal(&t->shape, shape) && nnl_tensor_is_contiguous(t);
}

static bool is_small(const nnl_tensor *out) { return nnl_tensor_numel(out) < NNL_LOOP_LEAST; }

// Fills in what depends on the operands' dtypes, and runs. `result` is the dtype of what the kernel writes.
static void run_job(job *j, nnl_compute type, nnl_dtype result, const nnl_tensor *const *tensors) {
    const nnl_tensor *out = tensors[0];
    const nnl_kernels *kernels = out->ctx->kernels;
    const nnl_dtype_info *info = nnl_dtype_get(out->dtype);
    j->out_direct = out->dtype == result;
    j->store = kernels->convert->store[out->dtype][nnl_dtype_get(result)->compute];
    j->element[0] = info->size;
    for (int k = 0; k < j->inputs; k++) {
        const nnl_dtype_info *in = nnl_dtype_get(tensors[k + 1]->dtype);
        j->direct[k] = in->native && in->compute == type;
        j->load[k] = kernels->convert->load[tensors[k + 1]->dtype][type];
        j->element[k + 1] = in->size;
    }
    int64_t numel = nnl_tensor_numel(out);
    if (numel == 0 || run_whole(j, tensors, numel)) return;
    if (j->light && (size_t)numel * info->size >= STREAM_LEAST) {
        j->stream = kernels->elementwise->stream;
        j->streamed = kernels->elementwise->streamed;
    }
    nnl_loop loop;
    nnl_loop_init(&loop, j->inputs + 1, tensors);
    loop.stops = true; // nobody takes elements for places before the operation is through
    nnl_loop_run(&loop, out->ctx->pool, run_row, j);
}

// The dtype whose memory is an array of a compute type.
static nnl_dtype native_dtype(nnl_compute type) {
    static const nnl_dtype native[NNL_COMPUTE_COUNT] = {NNL_FLOAT32, NNL_FLOAT64, NNL_INT64};
    return native[type];
}

// Those that whole numbers have too: their results come as fast as memory takes them.
static bool is_light(const nnl_elementwise_kernels *kernels, nnl_unary op) {
    return kernels->unary[op][NNL_IN_INT] != NULL;
}

void nnl_apply_unary(nnl_tensor *out, const nnl_tensor *x, nnl_compute type, nnl_unary op, const double *p) {
    const nnl_elementwise_kernels *kernels = out->ctx->kernels->elementwise;
    nnl_dtype native = native_dtype(type);
    if (is_small(out) && is_plain(out, native, &out->shape) && is_plain(x, native, &out->shape)) {
        kernels->unary[op][type]((size_t)nnl_tensor_numel(out), nnl_tensor_data(out), nnl_tensor_data(x), p);
        return;
    }
    job j = {.call = call_unary,
             .kernel.unary = kernels->unary[op][type],
             .p = p,
             .inputs = 1,
             .light = is_light(kernels, op)};
    run_job(&j, type, native, (const nnl_tensor *const[]){out, x});
}

void nnl_apply_unary_grad(nnl_tensor *dx, const nnl_tensor *dout, const nnl_tensor *x, const nnl_tensor *y,
                          nnl_compute type, nnl_unary op, const double *p) {
    const nnl_elementwise_kernels *kernels = dx->ctx->kernels->elementwise;
    job j = {.call = call_unary_grad,
             .kernel.unary_grad = kernels->unary_grad[op][type],
             .p = p,
             .inputs = 3,
             .light = is_light(kernels, op)};
    run_job(&j, type, native_dtype(type), (const nnl_tensor *const[]){dx, dout, x, y});
}

void nnl_apply_unary_grad2(nnl_tensor *out, const nnl_tensor *u, const nnl_tensor *dout, const nnl_tensor *x,
                           const nnl_tensor *y, nnl_compute type, nnl_unary op, const double *p) {
    job j = {.call = call_unary_grad2,
             .kernel.unary_grad2 = out->ctx->kernels->elementwise->unary_grad2[op][type],
             .p = p,
             .inputs = 4};
    run_job(&j, type, native_dtype(type), (const nnl_tensor *const[]){out, u, dout, x, y});
}

void nnl_apply_binary(nnl_tensor *out, const nnl_tensor *a, const nnl_tensor *b, nnl_compute type,
                      nnl_binary op) {
    const nnl_elementwise_kernels *kernels = out->ctx->kernels->elementwise;
    nnl_dtype native = native_dtype(type);
    if (is_small(out) && is_plain(out, native, &out->shape) && is_plain(a, native, &out->shape) &&
        is_plain(b, native, &out->shape)) {
        kernels->binary[op][type]((size_t)nnl_tensor_numel(out), nnl_tensor_data(out), nnl_tensor_data(a),
                                  nnl_tensor_data(b));
        return;
    }
    job j = {.call = call_binary,
             .kernel.binary = {kernels->binary[op][type], kernels->binary_first[op][type],
                               kernels->binary_second[op][type]},
             .inputs = 2,
             .light = true};
    run_job(&j, type, native, (const nnl_tensor *const[]){out, a, b});
}

void nnl_apply_compare(nnl_tensor *out, const nnl_tensor *a, const nnl_tensor *b, nnl_compute type,
                       nnl_compare_fn *fn) {
    job j = {.call = call_compare, .kernel.compare = fn, .inputs = 2};
    run_job(&j, type, NNL_BOOL, (const nnl_tensor *const[]){out, a, b});
}

void nnl_apply_test(nnl_tensor *out, const nnl_tensor *x, nnl_compute type, nnl_test_fn *fn) {
    job j = {.call = call_test, .kernel.test = fn, .inputs = 1};
    run_job(&j, type, NNL_BOOL, (const nnl_tensor *const[]){out, x});
}

// A number as an operand: a tensor of no dimensions that lives as long as the call.
typedef struct number_operand {
    nnl_storage storage;
    nnl_tensor tensor;
    double memory;
} number_operand;

static const nnl_tensor *number_as_tensor(number_operand *n, nnl_context *ctx, nnl_number value,
                                          nnl_dtype dtype) {
    nnl_element_write(dtype, &n->memory, value);
    n->storage = (nnl_storage){.refs = 1, .ctx = ctx, .data = (char *)&n->memory, .bytes = sizeof n->memory};
    n->tensor.refs = 1;
    n->tensor.dtype = dtype;
    n->tensor.ctx = ctx;
    n->tensor.storage = &n->storage;
    n->tensor.autograd = NULL;
    n->tensor.offset = 0;
    n->tensor.shape.ndim = 0;
    return &n->tensor;
}

void nnl_apply_binary_number(nnl_tensor *out, const nnl_tensor *a, nnl_number b, bool number_first,
                             nnl_compute type, nnl_binary op) {
    number_operand operand;
    const nnl_tensor *number = number_as_tensor(&operand, out->ctx, b, native_dtype(type));
    nnl_apply_binary(out, number_first ? number : a, number_first ? a : number, type, op);
}

static void where_row(void *arg, size_t n, char *const *data, const int64_t *stride) {
    const nnl_tensor *out = arg;
    size_t size = nnl_dtype_size(out->dtype);
    nnl_where_fn *fn = out->ctx->kernels->elementwise->where[size == 8   ? 3
                                                             : size == 4 ? 2
                                                             : size == 2 ? 1
                                                                         : 0];
    if (stride[0] == 1 && stride[1] == 1 && stride[2] == 1 && stride[3] == 1) {
        fn(n, data[0], (const uint8_t *)data[1], data[2], data[3]);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        int64_t at = (int64_t)i, bytes = (int64_t)size;
        int side = data[1][at * stride[1]] ? 2 : 3;
        memcpy(data[0] + at * stride[0] * bytes, data[side] + at * stride[side] * bytes, size);
    }
}

void nnl_apply_where(nnl_tensor *out, const nnl_tensor *condition, const nnl_tensor *a, const nnl_tensor *b) {
    nnl_loop loop;
    nnl_loop_init(&loop, 4, (const nnl_tensor *const[]){out, condition, a, b});
    loop.stops = true;
    nnl_loop_run(&loop, out->ctx->pool, where_row, out);
}

// A conversion runs in the source's compute type, except that what goes to a wider float is loaded as that.
static nnl_compute conversion_type(nnl_dtype from, nnl_dtype to) {
    const nnl_dtype_info *source = nnl_dtype_get(from), *target = nnl_dtype_get(to);
    if (target->kind == NNL_KIND_FLOAT && source->compute != NNL_IN_DOUBLE) return target->compute;
    return source->compute;
}

typedef struct conversion {
    nnl_load_fn *load;
    nnl_store_fn *store;
    size_t from, to;
} conversion;

static void convert_row(void *arg, size_t n, char *const *data, const int64_t *stride) {
    const conversion *c = arg;
    double buffer[BLOCK];
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t count = n - at < BLOCK ? n - at : BLOCK;
        c->load(count, buffer, data[1] + (int64_t)at * stride[1] * (int64_t)c->from, stride[1]);
        c->store(count, data[0] + (int64_t)at * stride[0] * (int64_t)c->to, stride[0], buffer);
    }
}

// Rows of one dtype: whole at once, or element by element with the size known to the compiler.
static void move_row(void *arg, size_t n, char *const *data, const int64_t *stride) {
    size_t size = *(const size_t *)arg;
    char *to = data[0];
    const char *from = data[1];
    int64_t step_to = stride[0] * (int64_t)size, step_from = stride[1] * (int64_t)size;
    if (stride[0] == 1 && stride[1] == 1) {
        memmove(to, from, n * size);
    } else if (size == 4) {
        for (size_t i = 0; i < n; i++, to += step_to, from += step_from) memcpy(to, from, 4);
    } else if (size == 8) {
        for (size_t i = 0; i < n; i++, to += step_to, from += step_from) memcpy(to, from, 8);
    } else {
        for (size_t i = 0; i < n; i++, to += step_to, from += step_from) memcpy(to, from, size);
    }
}

static void copy_elements(nnl_tensor *dst, const nnl_tensor *src, bool stops) {
    const nnl_convert_kernels *kernels = dst->ctx->kernels->convert;
    nnl_loop loop;
    nnl_loop_init(&loop, 2, (const nnl_tensor *const[]){dst, src});
    loop.stops = stops;
    if (dst->dtype == src->dtype) {
        size_t size = nnl_dtype_size(dst->dtype);
        nnl_loop_run(&loop, dst->ctx->pool, move_row, &size);
        return;
    }
    nnl_compute type = conversion_type(src->dtype, dst->dtype);
    conversion c = {kernels->load[src->dtype][type], kernels->store[dst->dtype][type], loop.element[1],
                    loop.element[0]};
    nnl_loop_run(&loop, dst->ctx->pool, convert_row, &c);
}

void nnl_apply_copy(nnl_tensor *dst, const nnl_tensor *src) { copy_elements(dst, src, false); }

void nnl_try_copy(nnl_tensor *dst, const nnl_tensor *src) { copy_elements(dst, src, true); }

static void fill_elements(nnl_tensor *dst, nnl_number value, bool stops) {
    number_operand operand;
    copy_elements(dst, number_as_tensor(&operand, dst->ctx, value, dst->dtype), stops);
}

void nnl_apply_fill(nnl_tensor *dst, nnl_number value) { fill_elements(dst, value, false); }

void nnl_try_fill(nnl_tensor *dst, nnl_number value) { fill_elements(dst, value, true); }
