// part.c: a part of a tensor as indexing makes it, and the way back from it. By it too a view finds its place
// in the graph again after its base was changed in place.
#include "grad/part.h"

#include <string.h>

nnl_part nnl_part_of(const nnl_tensor *whole, const nnl_tensor *look) {
    nnl_part part = {.whole = whole->shape, .shape = look->shape, .offset = look->offset - whole->offset};
    memcpy(part.whole_stride, whole->stride, sizeof part.whole_stride);
    memcpy(part.stride, look->stride, sizeof part.stride);
    return part;
}

// A dimension must step over all that the ones with smaller strides reach.
bool nnl_overlaps(const nnl_shape *shape, const int64_t *stride) {
    if (nnl_shape_numel(shape) == 0) return false;
    for (int d = 0; d < shape->ndim; d++) {
        int64_t reach = 0;
        if (shape->size[d] <= 1) continue;
        for (int k = 0; k < shape->ndim; k++) {
            bool smaller = stride[k] < stride[d] || (k > d && stride[k] == stride[d]);
            if (shape->size[k] > 1 && smaller) reach += (shape->size[k] - 1) * stride[k];
        }
        if (stride[d] <= reach) return true;
    }
    return false;
}

// Whether strides place a shape's elements alike.
static bool same_layout(const nnl_shape *shape, const int64_t *a, const int64_t *b) {
    for (int d = 0; d < shape->ndim; d++) {
        if (shape->size[d] > 1 && a[d] != b[d]) return false;
    }
    return true;
}

static int64_t span_of(const nnl_part *part) {
    int64_t span = 1;
    for (int d = 0; d < part->whole.ndim; d++) {
        if (part->whole.size[d] == 0) return 0;
        span += (part->whole.size[d] - 1) * part->whole_stride[d];
    }
    return span;
}

// A tensor of the whole's shape and strides. Returns new.
static nnl_tensor *whole_new(nnl_context *ctx, nnl_dtype dtype, const nnl_part *part) {
    nnl_shape line = {.ndim = 1, .size = {span_of(part)}};
    int64_t plain[NNL_MAX_DIMS];
    nnl_shape_strides(&part->whole, plain);
    if (same_layout(&part->whole, plain, part->whole_stride)) return nnl_tensor_new(ctx, dtype, &part->whole);
    nnl_tensor *memory = nnl_tensor_new(ctx, dtype, &line);
    nnl_tensor *whole = memory ? nnl_tensor_alias(memory, &part->whole, part->whole_stride, 0) : NULL;
    nnl_tensor_release(memory);
    if (whole) nnl_tensor_stand_alone(whole);
    return whole;
}

// A look at the part of such a tensor, for the time of one call.
static nnl_tensor look_at(const nnl_tensor *whole, const nnl_part *part) {
    nnl_tensor look = *whole;
    look.shape = part->shape;
    look.offset += part->offset;
    memcpy(look.stride, part->stride, sizeof look.stride);
    return look;
}

static nnl_status record_part(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, nnl_tensor **out,
                              const nnl_part *part) {
    return nnl_record_one(ctx, op, x, out, part, sizeof *part);
}

// Takes out; NULL goes through.
static nnl_tensor *recorded(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, nnl_tensor *out,
                            const nnl_part *part) {
    if (!out || record_part(ctx, op, x, &out, part) == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

static nnl_status gave(nnl_context *ctx, nnl_tensor **dx, nnl_tensor *x) {
    *dx = x;
    return x ? NNL_OK : ctx->status;
}

// ---- the view, its gradient (zeros with dout in the part), and the gradient of that

static nnl_status view_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    return gave(ctx, &dx[0], nnl_part_spread(ctx, dout[0], node->state));
}

static nnl_status spread_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    return gave(ctx, &dx[0], nnl_part_take(ctx, dout[0], node->state));
}

static nnl_status layout_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    (void)ctx, (void)node;
    dx[0] = nnl_tensor_retain(dout[0]);
    return NNL_OK;
}

static const nnl_op view_record = {.name = "indexing", .outputs = 1, .backward = view_backward};
static const nnl_op spread_record = {.name = "indexing", .outputs = 1, .backward = spread_backward};
static const nnl_op layout_record = {.name = "clone", .outputs = 1, .backward = layout_backward};

// Adds x to a look whose elements share memory, one after the other.
static void add_shared(nnl_tensor *look, const nnl_tensor *x) {
    int64_t at[NNL_MAX_DIMS] = {0}, to = look->offset, from = x->offset;
    size_t size = nnl_dtype_size(look->dtype);
    for (int64_t i = 0, n = nnl_tensor_numel(x); i < n; i++) {
        char *target = look->storage->data + (size_t)to * size;
        double sum = nnl_element_read(look->dtype, target).d +
                     nnl_element_read(x->dtype, x->storage->data + (size_t)from * nnl_dtype_size(x->dtype)).d;
        nnl_element_write(look->dtype, target, nnl_number_float(sum));
        for (int d = x->shape.ndim - 1; d >= 0; d--) {
            to += look->stride[d];
            from += x->stride[d];
            if (++at[d] < x->shape.size[d]) break;
            to -= look->stride[d] * at[d];
            from -= x->stride[d] * at[d];
            at[d] = 0;
        }
    }
}

nnl_tensor *nnl_part_spread(nnl_context *ctx, nnl_tensor *x, const nnl_part *part) {
    nnl_tensor *whole = whole_new(ctx, x->dtype, part);
    if (!whole) return NULL;
    if (nnl_tensor_numel(whole) > 0) nnl_try_fill(whole, nnl_number_int(0));
    nnl_tensor look = look_at(whole, part);
    if (nnl_overlaps(&part->shape, part->stride)) {
        add_shared(&look, x);
    } else if (nnl_tensor_numel(x) > 0) {
        nnl_try_copy(&look, x);
    }
    return recorded(ctx, &spread_record, x, whole, part);
}

// x's elements where the whole's strides have them.
static nnl_tensor *laid_out(nnl_context *ctx, nnl_tensor *x, const nnl_part *part) {
    nnl_tensor *whole = whole_new(ctx, x->dtype, part);
    if (whole && nnl_tensor_numel(x) > 0) nnl_try_copy(whole, x);
    return recorded(ctx, &layout_record, x, whole, part);
}

nnl_tensor *nnl_part_take(nnl_context *ctx, nnl_tensor *dout, const nnl_part *part) {
    bool same = same_layout(&part->whole, dout->stride, part->whole_stride);
    nnl_tensor *whole = same ? nnl_tensor_retain(dout) : laid_out(ctx, dout, part), *out = NULL;
    if (whole) {
        out = nnl_tensor_alias(whole, &part->shape, part->stride, whole->offset + part->offset);
        out = recorded(ctx, &view_record, whole, out, part);
    }
    nnl_tensor_release(whole);
    return out;
}

// ---- with zeros in the part

static nnl_status clear_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    return gave(ctx, &dx[0], nnl_part_clear(ctx, dout[0], node->state));
}

static const nnl_op clear_record = {.name = "assignment", .outputs = 1, .backward = clear_backward};

nnl_tensor *nnl_part_clear(nnl_context *ctx, nnl_tensor *dout, const nnl_part *part) {
    nnl_tensor *whole = whole_new(ctx, dout->dtype, part);
    if (!whole) return NULL;
    if (nnl_tensor_numel(dout) > 0) nnl_try_copy(whole, dout);
    nnl_tensor look = look_at(whole, part);
    if (nnl_tensor_numel(&look) > 0) nnl_try_fill(&look, nnl_number_int(0));
    return recorded(ctx, &clear_record, dout, whole, part);
}

// ---- regions

nnl_tensor nnl_region_look(const nnl_tensor *x, const nnl_region *region) {
    nnl_tensor look = *x;
    look.shape = region->shape;
    for (int d = 0; d < x->shape.ndim; d++) look.offset += region->start[d] * x->stride[d];
    for (int k = 0; k < region->shape.ndim; k++) look.stride[k] = region->step[k] * x->stride[region->dim[k]];
    return look;
}

// The gradient is laid out in row-major order, whatever the strides of x are.
static nnl_part part_in_order(const nnl_tensor *x, const nnl_region *region) {
    nnl_tensor ordered = *x;
    nnl_shape_strides(&x->shape, ordered.stride);
    nnl_tensor look = nnl_region_look(&ordered, region);
    return nnl_part_of(&ordered, &look);
}

nnl_tensor *nnl_region_view(nnl_context *ctx, nnl_tensor *x, const nnl_region *region) {
    nnl_tensor look = nnl_region_look(x, region);
    nnl_tensor *out = nnl_tensor_alias(x, &look.shape, look.stride, look.offset);
    if (!nnl_grad_wanted(ctx, &x, 1)) return out;
    nnl_part part = part_in_order(x, region);
    return recorded(ctx, &view_record, x, out, &part);
}

nnl_tensor *nnl_strided_view(nnl_context *ctx, nnl_tensor *x, const nnl_shape *shape, const int64_t *stride,
                             int64_t offset) {
    nnl_tensor *out = nnl_tensor_alias(x, shape, stride, offset);
    if (!out) return NULL;
    nnl_part part = nnl_part_of(x, out);
    return recorded(ctx, &view_record, x, out, &part);
}

// ---- views of a base that was changed in place

nnl_status nnl_catch_up(nnl_context *ctx, nnl_tensor *t) {
    bool mode = ctx->grad_enabled;
    nnl_part part = nnl_part_of(t->base, t);
    ctx->grad_enabled = true;
    nnl_status status = record_part(ctx, &view_record, t->base, &t, &part);
    ctx->grad_enabled = mode;
    if (status == NNL_OK) t->seen = ctx->next_sequence;
    return status;
}
