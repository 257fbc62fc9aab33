// print.c: tensors as text. A first walk over the elements that will be shown finds a notation that suits
// them all, a second one the width of the widest, and a third writes them.
#include "tensor/print.h"

#include "base/decimal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_TEXT 384 // the largest double in full, with its point and digits behind
#define PIECE 512
#define BETWEEN_QUESTIONS 4096 // elements
#define OPENING ((int)sizeof "tensor(" - 1)

typedef enum notation { INTEGERS, WHOLE, FIXED, SCIENTIFIC } notation;

typedef struct printer {
    const nnl_tensor *t;
    const nnl_print_options *options;
    void (*write)(void *arg, const char *text, size_t length);
    void *arg;
    bool summarised, stopped; // stopped: by the host (nnl_pool_stops), once some thousands were looked at
    int64_t seen;
    notation notation;
    int width; // of an element

    double largest, smallest; // finite magnitudes above 0
    bool fraction;            // some finite element is no whole number

    char piece[PIECE]; // text not yet handed on
    size_t used;
    int64_t column; // where the next character goes
} printer;

nnl_print_options nnl_print_defaults(void) {
    return (nnl_print_options){
        .precision = 4, .threshold = 1000, .edge_items = 3, .line_width = 80, .suffix = ""};
}

bool nnl_print_profile(const char *name, nnl_print_options *options) {
    bool is_short = strcmp(name, "short") == 0, is_full = strcmp(name, "full") == 0;
    if (!is_short && !is_full && strcmp(name, "default") != 0) return false;
    *options = nnl_print_defaults();
    if (is_short) options->precision = 2;
    if (is_short) options->edge_items = 2;
    if (is_full) options->threshold = INT64_MAX;
    return true;
}

// ---- text

static void flush(printer *p) {
    if (p->used > 0) p->write(p->arg, p->piece, p->used);
    p->used = 0;
}

static void put(printer *p, const char *text, size_t length) {
    if (length > PIECE - p->used) flush(p);
    memcpy(p->piece + p->used, text, length);
    p->used += length;
    for (size_t i = 0; i < length; i++) p->column = text[i] == '\n' ? 0 : p->column + 1;
}

static void put_repeated(printer *p, char c, int64_t times) {
    for (int64_t i = 0; i < times; i++) put(p, &c, 1);
}

static void put_text(printer *p, const char *text) {
    for (; *text; text++) put(p, text, 1);
}

static int float_text(const printer *p, double value, char *text) {
    if (isnan(value)) return snprintf(text, NUMBER_TEXT, "nan");
    if (isinf(value)) return snprintf(text, NUMBER_TEXT, value > 0 ? "inf" : "-inf");
    int precision = p->options->precision;
    if (p->notation == SCIENTIFIC)
        snprintf(text, NUMBER_TEXT, "%.*e", precision, value);
    else if (p->notation == WHOLE)
        snprintf(text, NUMBER_TEXT, "%.0f.", value);
    else
        snprintf(text, NUMBER_TEXT, "%.*f", precision, value);
    return (int)nnl_decimal_point(text);
}

static int element_text(const printer *p, nnl_number value, char *text) {
    if (p->t->dtype == NNL_BOOL) return snprintf(text, NUMBER_TEXT, value.i ? "true" : "false");
    if (p->notation == INTEGERS) return snprintf(text, NUMBER_TEXT, "%lld", (long long)value.i);
    return float_text(p, value.d, text);
}

// ---- the elements that are shown

static nnl_number element_at(const nnl_tensor *t, int64_t offset) {
    return nnl_element_read(t->dtype, t->storage->data + offset * (int64_t)nnl_dtype_size(t->dtype));
}

// Whether the dimension is shown by its ends alone.
static bool has_gap(const printer *p, int64_t size) {
    return p->summarised && size > 2 * p->options->edge_items;
}

// The index to show after `i`; none where the host wants an end.
static int64_t next_shown(printer *p, int64_t i, int64_t size) {
    if (++p->seen % BETWEEN_QUESTIONS == 0) p->stopped = nnl_pool_stops(p->t->ctx->pool);
    if (p->stopped) return size;
    bool at_gap = has_gap(p, size) && i + 1 == p->options->edge_items;
    return at_gap ? size - p->options->edge_items : i + 1;
}

static bool is_after_gap(const printer *p, int64_t i, int64_t size) {
    return has_gap(p, size) && i == size - p->options->edge_items;
}

typedef void visit_fn(printer *p, nnl_number value);

static void visit_from(printer *p, int dim, int64_t offset, visit_fn *fn) {
    const nnl_tensor *t = p->t;
    if (dim == t->shape.ndim) {
        fn(p, element_at(t, offset));
        return;
    }
    int64_t size = t->shape.size[dim];
    for (int64_t i = 0; i < size; i = next_shown(p, i, size))
        visit_from(p, dim + 1, offset + i * t->stride[dim], fn);
}

static void visit(printer *p, visit_fn *fn) {
    if (nnl_tensor_numel(p->t) > 0) visit_from(p, 0, p->t->offset, fn);
}

static void measure_magnitude(printer *p, nnl_number value) {
    double size = fabs(value.d);
    if (!isfinite(size)) return;
    p->fraction = p->fraction || size != floor(size);
    if (size > p->largest) p->largest = size;
    if (size > 0 && size < p->smallest) p->smallest = size;
}

static void measure_width(printer *p, nnl_number value) {
    char text[NUMBER_TEXT];
    int width = element_text(p, value, text);
    if (width > p->width) p->width = width;
}

// Fractions are scientific under the conditions that PyTorch has, beyond which fixed digits lose too many of
// the small ones; whole numbers, which lose none, only where they are long.
static notation float_notation(printer *p) {
    p->smallest = INFINITY;
    visit(p, measure_magnitude);
    if (p->options->notation == NNL_NOTATION_SCIENTIFIC) return SCIENTIFIC;
    bool wide = p->smallest < 1e-4 || p->largest / p->smallest > 1000;
    bool scientific = p->largest > 1e8 || (p->fraction && wide);
    if (p->options->notation == NNL_NOTATION_AUTO && scientific) return SCIENTIFIC;
    return p->fraction ? FIXED : WHOLE;
}

// ---- writing

static void write_element(printer *p, int64_t offset) {
    char text[NUMBER_TEXT];
    int length = element_text(p, element_at(p->t, offset), text);
    put_repeated(p, ' ', p->width - length);
    put(p, text, (size_t)length);
}

static void write_indent(printer *p, int lines, int depth) {
    put_repeated(p, '\n', lines);
    put_repeated(p, ' ', depth);
}

// Each takes its width and ", "; the last space of a line is not written.
static int64_t items_per_line(const printer *p, int depth) {
    int64_t items = (p->options->line_width + 1 - depth) / (p->width + 2);
    return items > 0 ? items : 1;
}

// The elements of the last dimension; they wrap within the bracket.
static void write_row(printer *p, int64_t offset, int depth) {
    int dim = p->t->shape.ndim - 1;
    int64_t size = p->t->shape.size[dim], stride = p->t->stride[dim];
    int64_t per_line = items_per_line(p, depth), shown = 0;
    for (int64_t i = 0; i < size; i = next_shown(p, i, size)) {
        if (is_after_gap(p, i, size)) {
            put_text(p, ", ...");
            shown++;
        }
        if (shown > 0) put_text(p, ",");
        if (shown > 0 && shown % per_line == 0)
            write_indent(p, 1, depth);
        else if (shown > 0)
            put_text(p, " ");
        write_element(p, offset + i * stride);
        shown++;
    }
}

// The sub-tensors of a dimension, with empty lines between those that are no rows.
static void write_dim(printer *p, int dim, int64_t offset, int depth) {
    const nnl_tensor *t = p->t;
    put_text(p, "[");
    if (dim == t->shape.ndim - 1) {
        write_row(p, offset, depth + 1);
        put_text(p, "]");
        return;
    }
    int64_t size = t->shape.size[dim];
    int lines = t->shape.ndim - dim - 1;
    for (int64_t i = 0; i < size; i = next_shown(p, i, size)) {
        if (i > 0) {
            put_text(p, ",");
            write_indent(p, lines, depth + 1);
        }
        if (is_after_gap(p, i, size)) {
            put_text(p, "...,");
            write_indent(p, lines, depth + 1);
        }
        write_dim(p, dim + 1, offset + i * t->stride[dim], depth + 1);
    }
    put_text(p, "]");
}

static void write_elements(printer *p) {
    const nnl_tensor *t = p->t;
    if (nnl_tensor_numel(t) == 0)
        put_text(p, "[]");
    else if (t->shape.ndim == 0)
        write_element(p, t->offset);
    else
        write_dim(p, 0, t->offset, OPENING);
}

// Shape, dtype and what else is to be told, on a line of their own where they do not fit behind the elements.
static void write_closing(printer *p) {
    char shape[NNL_SHAPE_TEXT];
    const char *dtype = nnl_dtype_get(p->t->dtype)->name;
    nnl_shape_text(&p->t->shape, shape);
    size_t length = strlen(", shape , )") + strlen(shape) + strlen(dtype) + strlen(p->options->suffix);
    bool fits = p->column + (int64_t)length <= p->options->line_width;
    put_text(p, ",");
    if (fits)
        put_text(p, " ");
    else
        write_indent(p, 1, OPENING);
    put_text(p, "shape ");
    put_text(p, shape);
    put_text(p, ", ");
    put_text(p, dtype);
    put_text(p, p->options->suffix);
    put_text(p, ")");
}

nnl_status nnl_tensor_format(nnl_context *ctx, const nnl_tensor *t, const nnl_print_options *options,
                             void (*write)(void *arg, const char *text, size_t length), void *arg) {
    printer p = {.t = t, .options = options, .write = write, .arg = arg};
    if (options->precision < 0 || options->precision > NNL_PRINT_PRECISION || options->edge_items < 1)
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "print options: precision 0 to %d, edge items from 1 on",
                        NNL_PRINT_PRECISION);
    p.summarised = nnl_tensor_numel(t) > options->threshold;
    p.notation = nnl_dtype_is_float(t->dtype) ? float_notation(&p) : INTEGERS;
    visit(&p, measure_width);
    put_text(&p, "tensor(");
    write_elements(&p);
    write_closing(&p);
    flush(&p);
    return p.stopped ? nnl_check_stop(ctx, "tostring") : NNL_OK;
}
