// einsum.c: sums of products told by an equation of letters (Einstein's convention). Operands are taken two
// at a time from left to right; a letter that both have and nothing later wants is summed over by a batched
// matrix product, whose operands are views by permute and reshape wherever strides allow.
#include "grad/records.h"

#include <stdio.h>
#include <string.h>

// Labels: A to Z, a to z, then the dimensions that "..." stands for, counted from the right.
#define LETTERS 52
#define LABELS (LETTERS + NNL_MAX_DIMS)

typedef uint64_t label_set;

typedef struct labels {
    int count;
    uint8_t at[NNL_MAX_DIMS];
} labels;

// A product so far: a tensor, and the label of each of its dimensions.
typedef struct term {
    nnl_tensor *tensor;
    labels labels;
    label_set later; // what the terms after it and the output have
} term;

typedef struct equation {
    nnl_context *ctx;
    const char *text;
    size_t count;
    term *terms;
    int64_t size[LABELS]; // for labels in `known`; what 1 was broadcast to
    size_t owner[LABELS]; // the operand that the size is from
    int uses[LABELS];     // how often the label stands in the operands
    label_set known;
    int ellipsis; // most dimensions that "..." stands for
    labels output;
} equation;

#define FAIL(e, kind, format, ...)                                                                           \
    nnl_fail((e)->ctx, kind, "einsum: equation '%.80s': " format, (e)->text, __VA_ARGS__)

static label_set bit(int label) { return (label_set)1 << label; }

static bool has(label_set set, int label) { return (set & bit(label)) != 0; }

static label_set set_of(const labels *list) {
    label_set set = 0;
    for (int d = 0; d < list->count; d++) set |= bit(list->at[d]);
    return set;
}

static int position_of(const labels *list, int label) {
    for (int d = 0; d < list->count; d++) {
        if (list->at[d] == label) return d;
    }
    return -1;
}

// ---- reading the equation

// One operand's part of it, or the output's: letters, and where "..." stands among them.
typedef struct subscripts {
    labels letters;
    int ellipsis; // the number of letters before it, -1 where there is none
} subscripts;

#define PLACE_TEXT 32

// What a part is called in messages; 0 is the output.
static const char *place_text(size_t part, char text[PLACE_TEXT]) {
    if (part == 0) return "the output";
    snprintf(text, PLACE_TEXT, "operand %zu", part);
    return text;
}

static int letter_label(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    return c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1;
}

static char label_letter(int label) { return (char)(label < 26 ? 'A' + label : 'a' + label - 26); }

static bool is_arrow(const char *c) { return c[0] == '-' && c[1] == '>'; }

static nnl_status read_one(equation *e, const char *c, size_t part, subscripts *s) {
    char text[PLACE_TEXT];
    int label = letter_label(*c);
    if (*c == '.') {
        if (strncmp(c, "...", 3) == 0 && s->ellipsis < 0) {
            s->ellipsis = s->letters.count;
            return NNL_OK;
        }
        return FAIL(e, NNL_ERR_ARGUMENT, "%s may have three dots once, and no others",
                    place_text(part, text));
    }
    if (label < 0) {
        return FAIL(e, NNL_ERR_ARGUMENT, "%s has '%c', which is no letter", place_text(part, text), *c);
    }
    if (s->letters.count == NNL_MAX_DIMS) {
        return FAIL(e, NNL_ERR_SHAPE, "%s has more than %d letters, the most dimensions of a tensor",
                    place_text(part, text), NNL_MAX_DIMS);
    }
    s->letters.at[s->letters.count++] = (uint8_t)label;
    return NNL_OK;
}

// Up to a comma, the arrow or the end; NULL where there is an error.
static const char *read_subscripts(equation *e, const char *c, size_t part, subscripts *s) {
    *s = (subscripts){.ellipsis = -1};
    for (; *c != '\0' && !is_arrow(c) && !(*c == ',' && part > 0); c += *c == '.' ? 3 : 1) {
        if (*c != ' ' && read_one(e, c, part, s) != NNL_OK) return NULL;
    }
    return c;
}

// The labels of `dims` dimensions, "..." filled in.
static void fill_in(const subscripts *s, int ellipsis, labels *list) {
    list->count = 0;
    for (int k = 0; k <= s->letters.count; k++) {
        for (int d = 0; k == s->ellipsis && d < ellipsis; d++)
            list->at[list->count++] = (uint8_t)(LABELS - ellipsis + d);
        if (k < s->letters.count) list->at[list->count++] = s->letters.at[k];
    }
}

static nnl_status sizes_differ(const equation *e, int label, size_t operand, int64_t size) {
    if (label >= LETTERS) {
        // cppcheck-suppress arrayIndexOutOfBoundsCond ; a label is below LABELS
        return FAIL(e, NNL_ERR_SHAPE,
                    "dimension %d of '...' has size %lld in operand %zu and %lld in operand %zu",
                    label - LABELS, (long long)e->size[label], e->owner[label], (long long)size, operand);
    }
    return FAIL(e, NNL_ERR_SHAPE, "'%c' has size %lld in operand %zu and %lld in operand %zu",
                label_letter(label), (long long)e->size[label], e->owner[label], (long long)size, operand);
}

// Notes the size of a label; 1 broadcasts.
static nnl_status note_size(equation *e, int label, size_t operand, int64_t size) {
    e->uses[label]++;
    if (!has(e->known, label) || e->size[label] == 1) {
        e->known |= bit(label);
        e->size[label] = size;
        e->owner[label] = operand;
        return NNL_OK;
    }
    return size == 1 || size == e->size[label] ? NNL_OK : sizes_differ(e, label, operand, size);
}

static nnl_status check_diagonal(const equation *e, const term *t, int d, size_t operand) {
    const int64_t *size = t->tensor->shape.size;
    int first = position_of(&t->labels, t->labels.at[d]);
    if (size[first] == size[d]) return NNL_OK;
    return FAIL(e, NNL_ERR_SHAPE, "'%c' is repeated in operand %zu, where it has the sizes %lld and %lld",
                label_letter(t->labels.at[d]), operand, (long long)size[first], (long long)size[d]);
}

static nnl_status label_operand(equation *e, const subscripts *s, size_t operand) {
    term *t = &e->terms[operand - 1];
    char text[NNL_SHAPE_TEXT];
    const nnl_shape *shape = &t->tensor->shape;
    int ellipsis = shape->ndim - s->letters.count;
    if (ellipsis < 0 || (ellipsis > 0 && s->ellipsis < 0)) {
        return FAIL(e, NNL_ERR_SHAPE, "operand %zu has the shape %s, but the number of its letters is %d",
                    operand, nnl_shape_text(shape, text), s->letters.count);
    }
    if (s->ellipsis >= 0 && ellipsis > e->ellipsis) e->ellipsis = ellipsis;
    fill_in(s, ellipsis, &t->labels);
    nnl_status status = NNL_OK;
    for (int d = 0; d < shape->ndim && status == NNL_OK; d++) {
        status = check_diagonal(e, t, d, operand);
        if (status == NNL_OK) status = note_size(e, t->labels.at[d], operand, shape->size[d]);
    }
    return status;
}

// An arrow's right side: every label from an operand, and once.
static nnl_status explicit_output(equation *e, const subscripts *s) {
    label_set seen = 0;
    for (int k = 0; k < s->letters.count; k++) {
        int label = s->letters.at[k];
        if (has(seen, label)) {
            return FAIL(e, NNL_ERR_ARGUMENT, "the output has '%c' twice", label_letter(label));
        }
        if (!has(e->known, label)) {
            return FAIL(e, NNL_ERR_ARGUMENT, "the output has '%c', which no operand has",
                        label_letter(label));
        }
        seen |= bit(label);
    }
    int ellipsis = s->ellipsis >= 0 ? e->ellipsis : 0;
    if (s->letters.count + ellipsis > NNL_MAX_DIMS) {
        return FAIL(e, NNL_ERR_SHAPE, "the output has %d dimensions, more than %d",
                    s->letters.count + ellipsis, NNL_MAX_DIMS);
    }
    fill_in(s, ellipsis, &e->output);
    return NNL_OK;
}

// Without an arrow: the dimensions of "...", then the letters that stand once, in alphabetical order.
static nnl_status implied_output(equation *e) {
    int count = e->ellipsis;
    for (int label = 0; label < LETTERS; label++) count += e->uses[label] == 1;
    if (count > NNL_MAX_DIMS) {
        return FAIL(e, NNL_ERR_SHAPE, "the output has %d dimensions, more than %d", count, NNL_MAX_DIMS);
    }
    for (int d = 0; d < e->ellipsis; d++)
        e->output.at[e->output.count++] = (uint8_t)(LABELS - e->ellipsis + d);
    for (int label = 0; label < LETTERS; label++) {
        if (e->uses[label] == 1) e->output.at[e->output.count++] = (uint8_t)label;
    }
    return NNL_OK;
}

static nnl_status check_count(const equation *e, size_t named) {
    return FAIL(e, NNL_ERR_ARGUMENT, "it tells of %zu operands, got %zu", named, e->count);
}

static nnl_status read_equation(equation *e) {
    const char *c = e->text;
    subscripts s;
    size_t named = 1;
    for (; *c != '\0' && !is_arrow(c); c++) named += *c == ',';
    if (named != e->count) return check_count(e, named);
    c = e->text;
    for (size_t operand = 1; operand <= named; operand++) {
        if (operand > 1) c++; // the comma
        c = read_subscripts(e, c, operand, &s);
        if (!c || label_operand(e, &s, operand) != NNL_OK) return e->ctx->status;
    }
    if (*c == '\0') return implied_output(e);
    c = read_subscripts(e, c + 2, 0, &s);
    if (c && *c != '\0') return FAIL(e, NNL_ERR_ARGUMENT, "after the output comes '%s'", c);
    return c ? explicit_output(e, &s) : e->ctx->status;
}

// ---- one term

// Takes `next` in the place of the term's tensor.
static nnl_status become(equation *e, term *t, nnl_tensor *next) {
    if (!next) return e->ctx->status;
    nnl_tensor_release(t->tensor);
    t->tensor = next;
    return NNL_OK;
}

// Dimensions of size 1 go, as they broadcast; of dimensions with one label the diagonal stays.
static nnl_status reduce_to_distinct(equation *e, term *t) {
    nnl_shape shape = {.ndim = 0};
    int64_t stride[NNL_MAX_DIMS];
    labels kept = {.count = 0}, all = t->labels;
    bool diagonal = false;
    for (int d = 0; d < all.count; d++) {
        if (t->tensor->shape.size[d] != 1 && position_of(&kept, all.at[d]) >= 0) diagonal = true;
        if (t->tensor->shape.size[d] == 1 || position_of(&kept, all.at[d]) >= 0) continue;
        kept.at[kept.count++] = all.at[d];
        shape.size[shape.ndim++] = t->tensor->shape.size[d];
    }
    t->labels = kept;
    if (kept.count == all.count) return NNL_OK;
    if (!diagonal) return become(e, t, nnl_reshape(e->ctx, t->tensor, &shape));
    if (become(e, t, nnl_contiguous(e->ctx, t->tensor)) != NNL_OK) return e->ctx->status;
    memset(stride, 0, sizeof stride);
    for (int d = 0; d < all.count; d++) {
        if (t->tensor->shape.size[d] != 1) stride[position_of(&kept, all.at[d])] += t->tensor->stride[d];
    }
    return become(e, t, nnl_strided_view(e->ctx, t->tensor, &shape, stride, t->tensor->offset));
}

static nnl_status sum_over(equation *e, term *t, label_set set) {
    int64_t dims[NNL_MAX_DIMS];
    labels kept = {.count = 0};
    int count = 0;
    for (int d = 0; d < t->labels.count; d++) {
        if (has(set, t->labels.at[d])) {
            dims[count++] = d;
        } else {
            kept.at[kept.count++] = t->labels.at[d];
        }
    }
    if (count == 0) return NNL_OK;
    t->labels = kept;
    return become(e, t, nnl_sum(e->ctx, t->tensor, count, dims, false));
}

static nnl_status permute_to(equation *e, term *t, const labels *order) {
    int dims[NNL_MAX_DIMS];
    bool same = true;
    for (int d = 0; d < order->count; d++) {
        dims[d] = position_of(&t->labels, order->at[d]);
        same = same && dims[d] == d;
    }
    t->labels = *order;
    return same ? NNL_OK : become(e, t, nnl_permute(e->ctx, t->tensor, dims));
}

// ---- two terms

// Appends the labels of the set, in the order in which the term's memory holds them.
static void append_by_stride(labels *list, const term *t, label_set set) {
    int first = list->count;
    for (int d = 0; d < t->labels.count; d++) {
        if (!has(set, t->labels.at[d])) continue;
        int place = list->count++;
        for (; place > first; place--) {
            int before = position_of(&t->labels, list->at[place - 1]);
            if (t->tensor->stride[before] >= t->tensor->stride[d]) break;
            list->at[place] = list->at[place - 1];
        }
        list->at[place] = t->labels.at[d];
    }
}

static labels by_stride(const term *t, label_set set) {
    labels list = {.count = 0};
    append_by_stride(&list, t, set);
    return list;
}

static int64_t product_of_sizes(const equation *e, const labels *list) {
    int64_t product = 1;
    for (int d = 0; d < list->count; d++) product *= e->size[list->at[d]];
    return product;
}

static nnl_status too_many(const equation *e, int count) {
    return FAIL(e, NNL_ERR_SHAPE, "a product on the way has %d dimensions, more than %d", count,
                NNL_MAX_DIMS);
}

static int size_of_set(label_set set) {
    int count = 0;
    for (; set; set &= set - 1) count++;
    return count;
}

static void join(labels *list, const labels *more) {
    for (int d = 0; d < more->count; d++) list->at[list->count++] = more->at[d];
}

// The term's dimensions in the places that they have in `all`, others of size 1 between them.
static nnl_status spread_to(equation *e, term *t, const labels *all) {
    labels own = {.count = 0};
    nnl_shape shape = {.ndim = 0};
    for (int d = 0; d < all->count; d++) {
        bool there = position_of(&t->labels, all->at[d]) >= 0;
        if (there) own.at[own.count++] = all->at[d];
        if (there || own.count > 0) shape.size[shape.ndim++] = there ? e->size[all->at[d]] : 1;
    }
    nnl_status status = permute_to(e, t, &own);
    if (status != NNL_OK || shape.ndim == own.count) return status;
    return become(e, t, nnl_reshape(e->ctx, t->tensor, &shape));
}

// Nothing to sum over: elements times elements, broadcast; in the order of the output where this is the last.
static nnl_status multiply_elements(equation *e, term *a, term *b, bool last) {
    label_set in_a = set_of(&a->labels), in_b = set_of(&b->labels);
    labels all = {.count = 0};
    for (int d = 0; last && d < e->output.count; d++) {
        if (has(in_a | in_b, e->output.at[d])) all.at[all.count++] = e->output.at[d];
    }
    if (!last) {
        append_by_stride(&all, a, in_a & in_b);
        append_by_stride(&all, a, in_a & ~in_b);
        append_by_stride(&all, b, in_b & ~in_a);
    }
    nnl_status status = spread_to(e, a, &all);
    if (status == NNL_OK) status = spread_to(e, b, &all);
    if (status == NNL_OK) status = become(e, a, nnl_mul(e->ctx, a->tensor, b->tensor));
    a->labels = all;
    return status;
}

// The term as a batch of matrices. Returns new.
static nnl_tensor *matrices(equation *e, term *t, const labels *batch, const labels *rows,
                            const labels *columns) {
    labels order = *batch;
    join(&order, rows);
    join(&order, columns);
    nnl_shape shape = {3,
                       {product_of_sizes(e, batch), product_of_sizes(e, rows), product_of_sizes(e, columns)}};
    return permute_to(e, t, &order) == NNL_OK ? nnl_reshape(e->ctx, t->tensor, &shape) : NULL;
}

// Summing over `inner`: a (batch, left, inner) times b (batch, inner, right). The larger operand gives the
// order of the labels that both have, so that it need not be copied.
static nnl_status multiply_matrices(equation *e, term *a, term *b, label_set inner) {
    label_set in_a = set_of(&a->labels), in_b = set_of(&b->labels);
    const term *larger = nnl_tensor_numel(a->tensor) >= nnl_tensor_numel(b->tensor) ? a : b;
    labels batch = by_stride(larger, in_a & in_b & ~inner), shared = by_stride(larger, inner);
    labels left = by_stride(a, in_a & ~in_b), right = by_stride(b, in_b & ~in_a), all = batch;
    join(&all, &left);
    join(&all, &right);
    nnl_shape shape = {.ndim = all.count};
    for (int d = 0; d < all.count; d++) shape.size[d] = e->size[all.at[d]];
    nnl_tensor *x = matrices(e, a, &batch, &left, &shared);
    nnl_tensor *y = x ? matrices(e, b, &batch, &shared, &right) : NULL;
    nnl_tensor *product = y ? nnl_mm(e->ctx, x, false, y, false) : NULL;
    nnl_status status = product ? become(e, a, nnl_reshape(e->ctx, product, &shape)) : e->ctx->status;
    nnl_tensor_release(x);
    nnl_tensor_release(y);
    nnl_tensor_release(product);
    a->labels = all;
    return status;
}

// Many dot products are quicker as one product of elements and one sum than as matrices of one row; not where
// the rows are so short that their sums cost more than the calls.
#define SHORT_ROW 32

static bool is_rows(const equation *e, label_set in_a, label_set in_b, label_set inner) {
    int64_t length = 1;
    for (int label = 0; label < LABELS; label++) length *= has(inner, label) ? e->size[label] : 1;
    return in_a == in_b && in_a != inner && length >= SHORT_ROW;
}

static nnl_status multiply_rows(equation *e, term *a, term *b, label_set inner) {
    nnl_status status = multiply_elements(e, a, b, false);
    return status == NNL_OK ? sum_over(e, a, inner) : status;
}

static nnl_status one_dtype(equation *e, term *a, term *b) {
    nnl_dtype dtype = nnl_dtype_promote(a->tensor->dtype, b->tensor->dtype);
    nnl_status status = become(e, a, nnl_to(e->ctx, a->tensor, dtype));
    return status == NNL_OK ? become(e, b, nnl_to(e->ctx, b->tensor, dtype)) : status;
}

static void swap_terms(term *a, term *b) {
    term kept = *a;
    *a = *b;
    *b = kept;
}

// Whether the output's first label that is not of both terms is b's: b a is then in the output's order.
static bool starts_with_second(const equation *e, label_set in_a, label_set in_b) {
    for (int d = 0; d < e->output.count; d++) {
        int label = e->output.at[d];
        if (has(in_a, label) != has(in_b, label)) return has(in_b, label);
    }
    return false;
}

// a becomes the product, b is used up. What neither the output nor a later term has is summed over, before
// the product where only one of the two has it.
static nnl_status multiply(equation *e, term *a, term *b, bool last) {
    label_set in_a = set_of(&a->labels), in_b = set_of(&b->labels), wanted = b->later;
    label_set inner = in_a & in_b & ~wanted;
    int count = size_of_set((in_a | in_b) & wanted);
    if (count > NNL_MAX_DIMS) return too_many(e, count);
    nnl_status status = sum_over(e, a, in_a & ~in_b & ~wanted);
    if (status == NNL_OK) status = sum_over(e, b, in_b & ~in_a & ~wanted);
    if (status == NNL_OK) status = one_dtype(e, a, b);
    if (status != NNL_OK) return status;
    if (last && starts_with_second(e, in_a, in_b)) swap_terms(a, b);
    if (!inner) return multiply_elements(e, a, b, last);
    bool rows = is_rows(e, set_of(&a->labels), set_of(&b->labels), inner);
    return rows ? multiply_rows(e, a, b, inner) : multiply_matrices(e, a, b, inner);
}

// ---- all of it

// What is left of the last term, in the output's order, with the dimensions of size 1.
static nnl_status finish(equation *e, term *t) {
    label_set out = set_of(&e->output);
    labels order = {.count = 0};
    nnl_shape shape = {.ndim = e->output.count};
    nnl_status status = sum_over(e, t, set_of(&t->labels) & ~out);
    for (int d = 0; d < e->output.count; d++) {
        int label = e->output.at[d];
        shape.size[d] = e->size[label];
        if (position_of(&t->labels, label) >= 0) order.at[order.count++] = (uint8_t)label;
    }
    if (status == NNL_OK) status = permute_to(e, t, &order);
    if (status != NNL_OK || nnl_shape_equal(&shape, &t->tensor->shape)) return status;
    return become(e, t, nnl_reshape(e->ctx, t->tensor, &shape));
}

static nnl_status evaluate(equation *e) {
    nnl_status status = read_equation(e);
    label_set later = set_of(&e->output);
    for (size_t k = e->count; k-- > 0 && status == NNL_OK; later |= set_of(&e->terms[k].labels)) {
        e->terms[k].later = later;
        status = reduce_to_distinct(e, &e->terms[k]);
    }
    for (size_t k = 1; k < e->count && status == NNL_OK; k++)
        status = multiply(e, &e->terms[0], &e->terms[k], k == e->count - 1);
    return status == NNL_OK ? finish(e, &e->terms[0]) : status;
}

nnl_tensor *nnl_einsum(nnl_context *ctx, const char *text, size_t count, nnl_tensor *const *operands) {
    if (count == 0) return nnl_fail_null(ctx, NNL_ERR_ARGUMENT, "einsum: expected at least one operand");
    equation e = {.ctx = ctx, .text = text, .count = count};
    e.terms = nnl_alloc(&ctx->allocator, count * sizeof *e.terms);
    if (!e.terms) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for einsum's operands");
    for (size_t k = 0; k < count; k++) e.terms[k] = (term){.tensor = nnl_tensor_retain(operands[k])};
    nnl_status status = evaluate(&e);
    nnl_tensor *out = status == NNL_OK ? nnl_tensor_retain(e.terms[0].tensor) : NULL;
    for (size_t k = 0; k < count; k++) nnl_tensor_release(e.terms[k].tensor);
    nnl_free(&ctx->allocator, e.terms);
    return out;
}

static nnl_status einsum_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor_list list = call->arg[1].tensors;
    call->out[0] = nnl_einsum(ctx, call->arg[0].text, list.count, list.items);
    return call->out[0] ? NNL_OK : ctx->status;
}

const nnl_op nnl_einsum_records[] = {
    {.name = "einsum",
     .doc =
         "the sum of products that an equation tells of: \"ij,jk->ik\" is matmul. A letter stands for a "
         "dimension, \"...\" for any number of them, which broadcast; a letter twice in one operand takes "
         "the "
         "diagonal; letters that the output lacks are summed over. Without \"->\" the output has the letters "
         "that stand once, in alphabetical order",
     .flags = NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {{"equation", NNL_ARG_TEXT, false, 0, NULL}, {"operands", NNL_ARG_TENSORS, false, 0, NULL}},
     .forward = einsum_forward},
    {.name = NULL},
};
