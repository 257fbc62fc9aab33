// transform.h: what is done to pictures before training: a list of steps, each of which plans (what its
// result looks like, and what is random about it) and then works from one piece of memory into another.
// Nothing here knows of tensors' graphs or of Lua, so that threads can do it ahead of the training.
#ifndef NNL_DATA_TRANSFORM_H
#define NNL_DATA_TRANSFORM_H

#include "tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NNL_STEP_NUMBERS 16
#define NNL_MAX_STEPS 32

// A picture in memory: float32 or uint8; distances in elements. Columns are neighbours.
typedef struct nnl_frame {
    nnl_dtype dtype;
    int64_t channels, height, width;
    int64_t plane, row; // from one channel to the next, one row to the next
    void *data;
} nnl_frame;

static inline size_t nnl_frame_element(const nnl_frame *frame) { return frame->dtype == NNL_FLOAT32 ? 4 : 1; }

static inline int64_t nnl_frame_elements(const nnl_frame *frame) {
    return frame->channels * frame->height * frame->width;
}

static inline void *nnl_frame_row(const nnl_frame *frame, int64_t channel, int64_t y) {
    return (char *)frame->data + (size_t)(channel * frame->plane + y * frame->row) * nnl_frame_element(frame);
}

// The random numbers of one sample: they depend on the seed and the sample's place alone, whoever draws them.
typedef struct nnl_draw {
    uint64_t seed, sample;
    uint32_t block, left;
    uint32_t words[4];
} nnl_draw;

double nnl_draw_double(nnl_draw *draw, double low, double high); // in [low, high)
int64_t nnl_draw_below(nnl_draw *draw, int64_t bound);           // 0 to bound - 1

// What a step is going to do to one picture.
typedef struct nnl_plan {
    enum {
        NNL_PLAN_NOTHING, // the result is the picture as it is
        NNL_PLAN_PART,    // ... a part of it, from `offset` on: nothing is copied
        NNL_PLAN_WORK
    } kind;
    nnl_frame out;  // contiguous when it is made; `data` is set later
    int64_t offset; // in elements
    size_t scratch; // bytes that apply needs
    double number[NNL_STEP_NUMBERS];
} nnl_plan;

typedef struct nnl_step_class nnl_step_class;

typedef struct nnl_step {
    const nnl_step_class *class;
    double number[NNL_STEP_NUMBERS]; // the options, as the class declares them
} nnl_step;

struct nnl_step_class {
    const char *name;
    int numbers;
    // The plan comes as one that does nothing. An error says what is wrong with such a picture.
    nnl_status (*plan)(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                       nnl_plan *plan);
    void (*apply)(const nnl_plan *plan, const nnl_frame *in, const nnl_frame *out, void *scratch);
};

extern const nnl_step_class nnl_steps_of_place[], nnl_steps_of_size[], nnl_steps_of_color[];

// NULL where there is none of this name.
const nnl_step_class *nnl_step_class_named(const char *name);

// Goes through the steps for one picture after another; belongs to one thread, as its context does.
typedef struct nnl_runner {
    nnl_context *ctx;
    const nnl_step *step;
    int count;
    nnl_plan plan[NNL_MAX_STEPS];
    void *memory[3]; // two that results go to in turn, and scratch
    size_t room[3];
} nnl_runner;

// Returns the form of the result in `out`: its data and distances are for the caller to set.
nnl_status nnl_runner_plan(nnl_runner *runner, const nnl_frame *in, nnl_draw *draw, nnl_frame *out);
// As planned, into out->data, contiguous.
nnl_status nnl_runner_run(nnl_runner *runner, const nnl_frame *in, const nnl_frame *out);
void nnl_runner_free(nnl_runner *runner);

// The steps for a picture (H, W) or (C, H, W), or for each of several, (N, C, H, W), of float32 or uint8;
// picture i is sample i for what is random. Returns new.
nnl_tensor *nnl_transform_apply(nnl_context *ctx, const nnl_step *step, int count, const nnl_tensor *x,
                                uint64_t seed);

// A picture of the shape that a tensor or a sample has; an error where that is none.
nnl_status nnl_frame_of(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape, void *data,
                        nnl_frame *frame);
// The shape of a result whose sample had `ndim` dimensions.
nnl_shape nnl_frame_shape(const nnl_frame *frame, int ndim);

// Makes a plan for a contiguous result of these sizes.
void nnl_plan_work(nnl_plan *plan, nnl_dtype dtype, int64_t channels, int64_t height, int64_t width);

#endif
