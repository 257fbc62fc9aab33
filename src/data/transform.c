// transform.c: going through the steps, and the random numbers of a sample. The steps are in place.c, size.c
// and color.c.
#include "data/transform.h"
#include "tensor/apply.h"

#include <string.h>

// ---- random numbers: Philox, the sample's place being half of the counter

static uint32_t draw_word(nnl_draw *draw) {
    if (draw->left == 0) {
        uint32_t counter[4] = {draw->block++, 0, (uint32_t)draw->sample, (uint32_t)(draw->sample >> 32)};
        uint32_t key[2] = {(uint32_t)draw->seed, (uint32_t)(draw->seed >> 32)};
        nnl_philox(counter, key, draw->words);
        draw->left = 4;
    }
    return draw->words[4 - draw->left--];
}

double nnl_draw_double(nnl_draw *draw, double low, double high) {
    return low + (high - low) * (draw_word(draw) * 0x1p-32);
}

int64_t nnl_draw_below(nnl_draw *draw, int64_t bound) {
    return bound < 2 ? 0 : (int64_t)(((uint64_t)draw_word(draw) * (uint64_t)bound) >> 32);
}

// ---- steps

const nnl_step_class *nnl_step_class_named(const char *name) {
    const nnl_step_class *const lists[] = {nnl_steps_of_place, nnl_steps_of_size, nnl_steps_of_color};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (const nnl_step_class *class = lists[i]; class->name; class ++) {
            if (strcmp(class->name, name) == 0) return class;
        }
    }
    return NULL;
}

void nnl_plan_work(nnl_plan *plan, nnl_dtype dtype, int64_t channels, int64_t height, int64_t width) {
    plan->kind = NNL_PLAN_WORK;
    plan->out = (nnl_frame){dtype, channels, height, width, height * width, width, NULL};
}

// ---- the runner

nnl_status nnl_runner_plan(nnl_runner *runner, const nnl_frame *in, nnl_draw *draw, nnl_frame *out) {
    nnl_frame form = *in;
    for (int k = 0; k < runner->count; k++) {
        const nnl_step *step = &runner->step[k];
        nnl_plan *plan = &runner->plan[k];
        *plan = (nnl_plan){.kind = NNL_PLAN_NOTHING, .out = form};
        if (step->class->plan(runner->ctx, step, &form, draw, plan) != NNL_OK) return runner->ctx->status;
        form = plan->out;
    }
    *out = (nnl_frame){form.dtype, form.channels, form.height, form.width, form.height * form.width,
                       form.width, NULL};
    return NNL_OK;
}

static nnl_status make_room(nnl_runner *runner, int which, size_t bytes) {
    if (bytes <= runner->room[which]) return NNL_OK;
    nnl_free(&runner->ctx->allocator, runner->memory[which]);
    runner->room[which] = 0;
    runner->memory[which] = nnl_alloc(&runner->ctx->allocator, bytes);
    if (!runner->memory[which])
        return nnl_fail(runner->ctx, NNL_ERR_MEMORY, "out of memory: no room for a picture");
    runner->room[which] = bytes;
    return NNL_OK;
}

static void copy_frame(const nnl_frame *in, const nnl_frame *out) {
    size_t bytes = (size_t)in->width * nnl_frame_element(in);
    bool dense = in->row == in->width && in->plane == in->height * in->width;
    if (dense) {
        memcpy(out->data, in->data, (size_t)nnl_frame_elements(in) * nnl_frame_element(in));
        return;
    }
    for (int64_t c = 0; c < in->channels; c++) {
        for (int64_t y = 0; y < in->height; y++)
            memcpy(nnl_frame_row(out, c, y), nnl_frame_row(in, c, y), bytes);
    }
}

// The last step that makes something new makes it where it is wanted, if only nothing is cut from it
// afterwards.
static int last_work(const nnl_runner *runner) {
    for (int k = runner->count - 1; k >= 0; k--) {
        if (runner->plan[k].kind == NNL_PLAN_WORK) return k;
        if (runner->plan[k].kind == NNL_PLAN_PART) return -1;
    }
    return -1;
}

static nnl_status work(nnl_runner *runner, int k, int turn, const nnl_frame *in, void *to,
                       nnl_frame *result) {
    const nnl_plan *plan = &runner->plan[k];
    *result = plan->out;
    if (!to) {
        size_t bytes = (size_t)nnl_frame_elements(result) * nnl_frame_element(result);
        if (make_room(runner, turn, bytes) != NNL_OK) return runner->ctx->status;
        to = runner->memory[turn];
    }
    if (make_room(runner, 2, plan->scratch) != NNL_OK) return runner->ctx->status;
    result->data = to;
    runner->step[k].class->apply(plan, in, result, runner->memory[2]);
    return NNL_OK;
}

nnl_status nnl_runner_run(nnl_runner *runner, const nnl_frame *in, const nnl_frame *out) {
    nnl_frame now = *in;
    int last = last_work(runner), turn = 0;
    for (int k = 0; k < runner->count; k++) {
        const nnl_plan *plan = &runner->plan[k];
        nnl_frame result = plan->out;
        if (plan->kind == NNL_PLAN_NOTHING) continue;
        if (plan->kind == NNL_PLAN_PART) {
            result.data = (char *)now.data + (size_t)plan->offset * nnl_frame_element(&now);
        } else {
            if (work(runner, k, turn, &now, k == last ? out->data : NULL, &result) != NNL_OK)
                return runner->ctx->status;
            turn = !turn;
        }
        now = result;
    }
    if (now.data != out->data) copy_frame(&now, out);
    return NNL_OK;
}

void nnl_runner_free(nnl_runner *runner) {
    for (int i = 0; i < 3; i++) nnl_free(&runner->ctx->allocator, runner->memory[i]);
}

// ---- tensors

nnl_status nnl_frame_of(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape, void *data,
                        nnl_frame *frame) {
    char text[NNL_SHAPE_TEXT];
    int n = shape->ndim;
    if (n < 2 || n > 3 || nnl_shape_numel(shape) == 0)
        return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.image: expected a picture (C, H, W) or (H, W), got %s",
                        nnl_shape_text(shape, text));
    if (dtype != NNL_FLOAT32 && dtype != NNL_UINT8)
        return nnl_fail(ctx, NNL_ERR_DTYPE, "nn.image: expected a picture of float32 or uint8, got %s",
                        nnl_dtype_get(dtype)->name);
    int64_t channels = n == 3 ? shape->size[0] : 1, height = shape->size[n - 2], width = shape->size[n - 1];
    *frame = (nnl_frame){dtype, channels, height, width, height * width, width, data};
    return NNL_OK;
}

nnl_shape nnl_frame_shape(const nnl_frame *frame, int ndim) {
    if (ndim == 2 && frame->channels == 1) return (nnl_shape){2, {frame->height, frame->width}};
    return (nnl_shape){3, {frame->channels, frame->height, frame->width}};
}

static nnl_status apply_one(nnl_runner *runner, const nnl_frame *in, const nnl_shape *shape, int64_t i,
                            uint64_t seed, nnl_tensor **all) {
    nnl_context *ctx = runner->ctx;
    nnl_draw draw = {.seed = seed, .sample = (uint64_t)i};
    nnl_frame out;
    if (nnl_runner_plan(runner, in, &draw, &out) != NNL_OK) return ctx->status;
    if (!*all) {
        nnl_shape result = shape->ndim == 4
                               ? (nnl_shape){4, {shape->size[0], out.channels, out.height, out.width}}
                               : nnl_frame_shape(&out, shape->ndim);
        *all = nnl_tensor_new(ctx, out.dtype, &result);
        if (!*all) return ctx->status;
    }
    size_t bytes = (size_t)nnl_frame_elements(&out) * nnl_frame_element(&out);
    size_t room = (size_t)nnl_tensor_numel(*all) * nnl_dtype_size((*all)->dtype);
    size_t each = shape->ndim == 4 ? room / (size_t)shape->size[0] : room;
    if (bytes != each || out.width != (*all)->shape.size[(*all)->shape.ndim - 1])
        return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.image: the pictures of a batch must all become of one size");
    out.data = (char *)nnl_tensor_data(*all) + (size_t)i * bytes;
    return nnl_runner_run(runner, in, &out);
}

static nnl_tensor *apply_dense(nnl_context *ctx, const nnl_step *step, int count, const nnl_tensor *x,
                               uint64_t seed) {
    nnl_runner runner = {.ctx = ctx, .step = step, .count = count};
    nnl_tensor *all = NULL;
    nnl_frame in;
    nnl_shape one = x->shape;
    int64_t pictures = x->shape.ndim == 4 ? x->shape.size[0] : 1;
    if (x->shape.ndim == 4) one = (nnl_shape){3, {x->shape.size[1], x->shape.size[2], x->shape.size[3]}};
    if (pictures == 0) return nnl_fail_null(ctx, NNL_ERR_SHAPE, "nn.image: expected pictures, got none");
    nnl_status status = nnl_frame_of(ctx, x->dtype, &one, NULL, &in);
    for (int64_t i = 0; i < pictures && status == NNL_OK; i++) {
        in.data = (char *)nnl_tensor_data(x) + (size_t)(i * nnl_shape_numel(&one)) * nnl_frame_element(&in);
        status = apply_one(&runner, &in, &x->shape, i, seed, &all);
    }
    nnl_runner_free(&runner);
    if (status == NNL_OK) return all;
    nnl_tensor_release(all);
    return NULL;
}

nnl_tensor *nnl_transform_apply(nnl_context *ctx, const nnl_step *step, int count, const nnl_tensor *x,
                                uint64_t seed) {
    if (nnl_tensor_is_contiguous(x)) return apply_dense(ctx, step, count, x, seed);
    nnl_tensor *copy = nnl_tensor_new(ctx, x->dtype, &x->shape);
    if (!copy) return NULL;
    nnl_apply_copy(copy, x);
    nnl_tensor *out = apply_dense(ctx, step, count, copy, seed);
    nnl_tensor_release(copy);
    return out;
}
