// rerun.c: regions of the graph whose values are computed again when backward needs them. See rerun.h.
#include "grad/rerun.h"

#include <string.h>

nnl_rerun *nnl_rerun_new(nnl_context *ctx, const nnl_rerun_class *class, void *arg) {
    nnl_rerun *region = nnl_alloc(&ctx->allocator, sizeof *region);
    if (!region) {
        if (class) class->free(ctx, arg);
        return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a checkpoint");
    }
    *region = (nnl_rerun){.refs = 1, .ctx = ctx, .class = class, .arg = arg, .mixed = ctx->mixed};
    return region;
}

// Results of a second run that a script still holds have no way back any more, so that nothing stays for
// them.
static void release_nodes(nnl_rerun *region) {
    for (size_t i = 0; i < region->count; i++) nnl_node_clear(region->nodes[i]);
    for (size_t i = 0; i < region->count; i++) nnl_node_release(region->nodes[i]);
}

void nnl_rerun_release(nnl_rerun *region) {
    if (--region->refs > 0) return;
    nnl_context *ctx = region->ctx;
    if (!region->class) release_nodes(region);
    if (region->class) region->class->free(ctx, region->arg);
    nnl_free(&ctx->allocator, region->nodes);
    nnl_free(&ctx->allocator, region);
}

void nnl_rerun_begin(nnl_context *ctx, nnl_rerun *region) {
    region->outer = ctx->region;
    ctx->region = region;
}

void nnl_rerun_end(nnl_context *ctx, nnl_rerun *region) {
    ctx->region = region->outer;
    region->outer = NULL;
}

static nnl_status append(nnl_rerun *region, nnl_node *node) {
    nnl_context *ctx = region->ctx;
    if (region->count == region->room) {
        size_t room = region->room > 0 ? 2 * region->room : 32;
        nnl_node **more = nnl_alloc(&ctx->allocator, room * sizeof(nnl_node *));
        if (!more) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for a checkpoint");
        if (region->count > 0) memcpy(more, region->nodes, region->count * sizeof(nnl_node *));
        nnl_free(&ctx->allocator, region->nodes);
        region->nodes = more;
        region->room = room;
    }
    region->nodes[region->count++] = node;
    return NNL_OK;
}

// Within a second run, a region's nodes are also those of that run.
nnl_status nnl_rerun_note(nnl_context *ctx, nnl_node *node) {
    nnl_rerun *region = ctx->region, *outer = region->class ? region->outer : region;
    if (outer) {
        if (append(outer, node) != NNL_OK) return ctx->status;
        node->refs++;
    }
    if (!region->class) return NNL_OK;
    if (append(region, node) != NNL_OK) return ctx->status;
    node->region = region;
    node->place = region->count - 1;
    region->refs++;
    return NNL_OK;
}

void nnl_rerun_forget(nnl_node *node) {
    nnl_rerun *region = node->region;
    if (!region) return;
    node->region = NULL;
    region->nodes[node->place] = NULL;
    nnl_rerun_release(region);
}

// ---- the second run

static nnl_status differs(nnl_context *ctx, const char *what) {
    return nnl_fail(ctx, NNL_ERR_STATE,
                    "nn.checkpoint: the function did something else when it ran again%s; what it does must "
                    "follow from its arguments alone",
                    what);
}

// What the second run saved, as the first run would have: a look at it with the place that an input has in
// the graph of the first run.
static nnl_status take_value(nnl_context *ctx, nnl_node *node, int k, const nnl_node *again) {
    nnl_saved *saved = &node->saved[k];
    nnl_tensor *value = again->saved[k].hold.tensor;
    saved->dropped = false;
    if (!value) return NNL_OK; // it was changed in place
    nnl_tensor *look = nnl_tensor_detach(value);
    if (!look) return ctx->status;
    nnl_autograd *place = saved->output < 0 && saved->input >= 0 ? node->input[saved->input] : NULL;
    if (place) {
        nnl_autograd_retain(place);
        look->autograd = place;
    }
    nnl_hold_take(&saved->hold, look);
    nnl_tensor_release(look);
    return NNL_OK;
}

// The node's values are those of a region within, which began anew in the second run.
static void move_to(nnl_rerun *inner, nnl_node *node, nnl_node *again) {
    size_t place = again->place;
    inner->refs++;
    nnl_rerun_forget(again);
    nnl_rerun_forget(node);
    inner->nodes[place] = node;
    node->region = inner;
    node->place = place;
}

static nnl_status take_values(nnl_context *ctx, nnl_node *node, nnl_node *again) {
    if (node->op != again->op || node->n_saved != again->n_saved) return differs(ctx, "");
    if (again->region) {
        move_to(again->region, node, again);
        return NNL_OK;
    }
    nnl_status status = NNL_OK;
    for (int k = 0; k < node->n_saved && status == NNL_OK; k++) {
        if (node->saved[k].dropped) status = take_value(ctx, node, k, again);
    }
    if (status == NNL_OK) nnl_rerun_forget(node);
    return status;
}

static nnl_status run_again(nnl_context *ctx, nnl_rerun *region, nnl_rerun *second) {
    bool mode = ctx->grad_enabled, repeating = ctx->repeating, mixed = ctx->mixed;
    nnl_rerun *before = ctx->region;
    ctx->region = NULL;
    nnl_rerun_begin(ctx, second);
    ctx->grad_enabled = true;
    ctx->repeating = true;
    ctx->mixed = region->mixed;
    nnl_status status = region->class->run(ctx, region->arg);
    ctx->mixed = mixed;
    ctx->repeating = repeating;
    ctx->grad_enabled = mode;
    ctx->region = before;
    return status;
}

nnl_status nnl_rerun_restore(nnl_context *ctx, nnl_node *node) {
    nnl_rerun *region = node->region;
    if (!region) return differs(ctx, "");
    nnl_rerun *second = nnl_rerun_new(ctx, NULL, NULL);
    if (!second) return ctx->status;
    region->refs++;
    nnl_status status = run_again(ctx, region, second);
    if (status == NNL_OK && second->count != region->count) status = differs(ctx, ": other operations");
    for (size_t i = 0; i < region->count && status == NNL_OK; i++) {
        if (region->nodes[i]) status = take_values(ctx, region->nodes[i], second->nodes[i]);
    }
    nnl_rerun_release(second);
    nnl_rerun_release(region);
    return status;
}
