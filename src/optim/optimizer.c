// optimizer.c: groups of parameters, their state, and the step over all of them. The rules are in the other
// files of this folder.
#include "optim/state.h"
#include "tensor/apply.h"

#include <stdio.h>
#include <string.h>

// Elements of one part of a large parameter: some 15 microseconds of work; a multiple of what packed states
// need.
#define PART_ELEMENTS 16384

const nnl_optimizer_class *const nnl_optimizer_classes[] = {
    &nnl_sgd, &nnl_adam, &nnl_adamw, &nnl_nadam, &nnl_rmsprop, &nnl_adagrad, &nnl_adadelta, &nnl_lion, NULL};

// ---- groups and parameters

nnl_optimizer *nnl_optimizer_new(nnl_context *ctx, const nnl_optimizer_class *class) {
    nnl_optimizer *optimizer = nnl_alloc(&ctx->allocator, sizeof *optimizer);
    if (!optimizer) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for an optimizer");
    *optimizer = (nnl_optimizer){.refs = 1, .class = class, .ctx = ctx};
    const nnl_option *option = class->options;
    for (int k = 0; k < NNL_MAX_OPTIONS && option[k].type != NNL_OPTION_END; k++) {
        nnl_option_default(&option[k], &optimizer->defaults[k]);
    }
    nnl_context_retain(ctx);
    return optimizer;
}

static void group_clear(nnl_context *ctx, nnl_param_group *group) {
    for (size_t i = 0; i < group->count; i++) {
        nnl_optimizer_forget(&group->params[i]);
        nnl_tensor_release(group->params[i].param);
    }
    nnl_free(&ctx->allocator, group->params);
}

void nnl_optimizer_release(nnl_optimizer *optimizer) {
    if (!optimizer || --optimizer->refs > 0) return;
    nnl_context *ctx = optimizer->ctx;
    for (size_t g = 0; g < optimizer->count; g++) group_clear(ctx, &optimizer->groups[g]);
    nnl_free(&ctx->allocator, optimizer->groups);
    nnl_free(&ctx->allocator, optimizer);
    nnl_context_release(ctx);
}

// A larger array with the same content, in place of *items.
static nnl_status grow(nnl_context *ctx, void **items, size_t bytes, size_t wanted) {
    void *larger = nnl_alloc(&ctx->allocator, wanted);
    if (!larger) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for an optimizer's parameters");
    if (bytes > 0) memcpy(larger, *items, bytes);
    nnl_free(&ctx->allocator, *items);
    *items = larger;
    return NNL_OK;
}

nnl_param_group *nnl_optimizer_group(nnl_context *ctx, nnl_optimizer *optimizer) {
    size_t size = sizeof(nnl_param_group);
    void *groups = optimizer->groups;
    if (grow(ctx, &groups, optimizer->count * size, (optimizer->count + 1) * size) != NNL_OK) return NULL;
    optimizer->groups = groups;
    nnl_param_group *group = &optimizer->groups[optimizer->count++];
    *group = (nnl_param_group){.count = 0};
    memcpy(group->option, optimizer->defaults, sizeof group->option);
    return group;
}

void nnl_optimizer_drop_group(nnl_optimizer *optimizer) {
    group_clear(optimizer->ctx, &optimizer->groups[--optimizer->count]);
}

nnl_status nnl_optimizer_check(nnl_context *ctx, const nnl_optimizer *optimizer,
                               const nnl_param_group *group) {
    char who[64];
    const nnl_option *option = optimizer->class->options;
    snprintf(who, sizeof who, "nn.optim.%s", optimizer->class->name);
    for (int k = 0; k < NNL_MAX_OPTIONS && option[k].type != NNL_OPTION_END; k++) {
        nnl_status status = nnl_option_check(ctx, who, &option[k], &group->option[k]);
        if (status != NNL_OK) return status;
    }
    return optimizer->class->check ? optimizer->class->check(ctx, group->option) : NNL_OK;
}

static uint32_t count_params(const nnl_optimizer *optimizer) {
    size_t count = 0;
    for (size_t g = 0; g < optimizer->count; g++) count += optimizer->groups[g].count;
    return (uint32_t)count;
}

static bool holds(const nnl_optimizer *optimizer, const nnl_tensor *param) {
    for (size_t g = 0; g < optimizer->count; g++) {
        const nnl_param_group *group = &optimizer->groups[g];
        for (size_t i = 0; i < group->count; i++) {
            if (group->params[i].param == param) return true;
        }
    }
    return false;
}

nnl_status nnl_optimizer_add(nnl_context *ctx, nnl_optimizer *optimizer, nnl_param_group *group,
                             nnl_tensor *param) {
    const char *name = optimizer->class->name;
    if (!nnl_dtype_is_float(param->dtype) || !nnl_is_leaf(param)) {
        return nnl_fail(
            ctx, NNL_ERR_ARGUMENT, "nn.optim.%s: a parameter must be a leaf of a float dtype, not %s", name,
            nnl_is_leaf(param) ? nnl_dtype_get(param->dtype)->name : "the result of an operation");
    }
    if (holds(optimizer, param)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "nn.optim.%s: a parameter is given twice", name);
    }
    if (group->count == group->room) {
        size_t room = group->room > 0 ? 2 * group->room : 8, size = sizeof *group->params;
        void *params = group->params;
        nnl_status status = grow(ctx, &params, group->count * size, room * size);
        if (status != NNL_OK) return status;
        group->params = params;
        group->room = room;
    }
    group->params[group->count++] = (nnl_param_state){.param = nnl_tensor_retain(param),
                                                      .squares = optimizer->class->squares,
                                                      .index = count_params(optimizer)};
    return NNL_OK;
}

// ---- state

static nnl_dtype compute_dtype(const nnl_tensor *t) {
    return nnl_tensor_compute(t) == NNL_IN_DOUBLE ? NNL_FLOAT64 : NNL_FLOAT32;
}

static nnl_status need_state(nnl_context *ctx, const nnl_optimizer_class *class,
                             const nnl_option_value *option, nnl_param_state *p) {
    nnl_status status = NNL_OK;
    p->fresh = false;
    for (int k = 0; k < NNL_MAX_STATE && class->state[k] && status == NNL_OK; k++) {
        if (!p->state[k] && class->uses_state(option, k)) status = nnl_state_make(ctx, class, option, p, k);
    }
    return status;
}

void nnl_optimizer_forget(nnl_param_state *p) {
    for (int k = 0; k < NNL_MAX_STATE; k++) {
        nnl_tensor_release(p->state[k]);
        nnl_tensor_release(p->scale[k]);
        p->state[k] = p->scale[k] = NULL;
    }
    p->steps = 0;
    p->product = 0;
}

// ---- stepping

typedef struct update_job {
    nnl_update all;
    const nnl_kernels *kernels;
    nnl_update_fn *rule;
    size_t element;
    const nnl_param_state *packed; // NULL where all state is arrays
    uint32_t seed;
} update_job;

// The arrays of n elements from `from` on; state that is packed has none.
static nnl_update stretch_of(const update_job *job, size_t from, size_t n) {
    nnl_update u = job->all;
    size_t bytes = from * job->element;
    u.n = n;
    u.param = (char *)u.param + bytes;
    u.grad = (const char *)u.grad + bytes;
    for (int k = 0; k < NNL_MAX_STATE; k++) {
        if (u.state[k]) u.state[k] = (char *)u.state[k] + bytes;
    }
    return u;
}

// Packed state becomes floats and is packed again, a stretch at a time.
static void update_packed(const update_job *job, size_t from, size_t n) {
    float room[NNL_MAX_STATE][NNL_STATE_STRETCH];
    const nnl_param_state *p = job->packed;
    for (size_t end = from + n; from < end; from += NNL_STATE_STRETCH) {
        size_t count = end - from < NNL_STATE_STRETCH ? end - from : NNL_STATE_STRETCH;
        nnl_update u = stretch_of(job, from, count);
        for (int k = 0; k < NNL_MAX_STATE; k++) {
            if (!p->state[k] || u.state[k]) continue;
            nnl_state_unpack(job->kernels, p, k, from, count, room[k]);
            u.state[k] = room[k];
        }
        job->rule(job->kernels, &u);
        for (int k = 0; k < NNL_MAX_STATE; k++) {
            uint32_t seed = job->seed + (uint32_t)k * 0x9e3779b9u;
            if (u.state[k] == room[k]) nnl_state_pack(job->kernels, p, k, from, count, room[k], &seed);
        }
    }
}

static void update_part(void *arg, size_t part) {
    const update_job *job = arg;
    size_t from = part * PART_ELEMENTS, rest = job->all.n - from;
    size_t n = rest < PART_ELEMENTS ? rest : PART_ELEMENTS;
    if (job->packed) {
        update_packed(job, from, n);
    } else {
        nnl_update u = stretch_of(job, from, n);
        job->rule(job->kernels, &u);
    }
}

// Chances of rounding follow from the step and the parameter alone: a training that is taken up again has the
// same.
static uint32_t seed_for(const nnl_param_state *p) {
    return (uint32_t)p->steps * 0x85ebca6bu + p->index * 0xc2b2ae35u;
}

static bool is_whole(const nnl_param_state *p, int k) {
    return p->state[k] && !p->scale[k] && nnl_dtype_get(p->state[k]->dtype)->native;
}

void nnl_update_run(nnl_context *ctx, nnl_param_state *p, const nnl_tensor *grad, nnl_update_fn *rule,
                    const void *step) {
    update_job job = {.all = {.n = (size_t)nnl_tensor_numel(p->param),
                              .type = nnl_tensor_compute(p->param),
                              .param = nnl_tensor_data(p->param),
                              .grad = nnl_tensor_data(grad),
                              .step = step},
                      .kernels = ctx->kernels,
                      .rule = rule,
                      .element = nnl_dtype_size(p->param->dtype),
                      .packed = nnl_state_is_packed(p) ? p : NULL,
                      .seed = seed_for(p)};
    for (int k = 0; k < NNL_MAX_STATE; k++) {
        if (is_whole(p, k)) job.all.state[k] = nnl_tensor_data(p->state[k]);
    }
    if (job.all.n <= PART_ELEMENTS) {
        update_part(&job, 0);
    } else {
        nnl_pool_run(ctx->pool, (job.all.n + PART_ELEMENTS - 1) / PART_ELEMENTS, update_part, &job);
    }
}

static bool is_array(const nnl_tensor *t) {
    return nnl_dtype_get(t->dtype)->native && nnl_tensor_is_contiguous(t);
}

static nnl_tensor *as_array(nnl_context *ctx, nnl_tensor *t) {
    if (is_array(t)) return nnl_tensor_retain(t);
    nnl_tensor *copy = nnl_tensor_new(ctx, compute_dtype(t), &t->shape);
    if (copy) nnl_apply_copy(copy, t);
    return copy;
}

// Rules see arrays only: a parameter that is none (a view, a half float) is updated in a copy.
static nnl_status update_one(nnl_context *ctx, const nnl_optimizer_class *class,
                             const nnl_option_value *option, nnl_param_state *p, nnl_tensor *grad) {
    nnl_tensor *param = p->param, *array = as_array(ctx, param), *g = array ? as_array(ctx, grad) : NULL;
    nnl_status status = g ? need_state(ctx, class, option, p) : ctx->status;
    if (status == NNL_OK) {
        p->steps++;
        p->param = array;
        class->update(ctx, option, p, g);
        p->param = param;
        if (array != param) nnl_apply_copy(param, array);
        nnl_tensor_changed(param);
    }
    nnl_tensor_release(g);
    nnl_tensor_release(array);
    return status;
}

size_t nnl_optimizer_state_bytes(const nnl_optimizer *optimizer) {
    size_t bytes = 0;
    for (size_t g = 0; g < optimizer->count; g++) {
        const nnl_param_group *group = &optimizer->groups[g];
        for (size_t i = 0; i < group->count; i++) {
            const nnl_tensor *param = group->params[i].param;
            if (!nnl_requires_grad(param)) continue;
            for (int k = 0; k < NNL_MAX_STATE && optimizer->class->state[k]; k++) {
                if (!optimizer->class->uses_state(group->option, k)) continue;
                bytes += nnl_state_bytes(optimizer->class, group->option, param);
            }
        }
    }
    return bytes;
}

nnl_status nnl_optimizer_step(nnl_context *ctx, nnl_optimizer *optimizer) {
    for (size_t g = 0; g < optimizer->count; g++) {
        nnl_param_group *group = &optimizer->groups[g];
        for (size_t i = 0; i < group->count; i++) {
            nnl_tensor *grad = nnl_grad_get(group->params[i].param);
            if (!grad) continue;
            nnl_status status = update_one(ctx, optimizer->class, group->option, &group->params[i], grad);
            if (status != NNL_OK) return status;
        }
    }
    return NNL_OK;
}

void nnl_optimizer_zero_grad(nnl_optimizer *optimizer) {
    for (size_t g = 0; g < optimizer->count; g++) {
        nnl_param_group *group = &optimizer->groups[g];
        for (size_t i = 0; i < group->count; i++) {
            nnl_tensor *param = group->params[i].param;
            if (nnl_grad_get(param)) nnl_grad_set(optimizer->ctx, param, NULL);
        }
    }
}
