// print.c: tensors as text. A first walk over the elements that will be shown finds a format in which all of
// them have one width, a second one writes them.
#include "tensor/print.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_TEXT 48

typedef struct style {
    bool whole, scientific, integer;
    int precision, width;
} style;

typedef struct printer {
    const nnl_tensor *t;
    const nnl_print_options *options;
    void (*write)(void *arg, const char *text, size_t length);
    void *arg;
    style style;
    bool summarised;
    double largest, smallest; // finite magnitudes above 0
    bool fraction;            // some finite element is no whole number
} printer;

nnl_print_options nnl_print_defaults(void) {
    return (nnl_print_options){.precision = 4, .threshold = 1000, .edge_items = 3, .suffix = ""};
}

static void put(const printer *p, const char *text) { p->write(p->arg, text, strlen(text)); }

static int number_text(const printer *p, nnl_number value, char *text) {
    const style *s = &p->style;
    if (p->t->dtype == NNL_BOOL) return snprintf(text, NUMBER_TEXT, "%s", value.i ? "true" : "false");
    if (s->integer) return snprintf(text, NUMBER_TEXT, "%lld", (long long)value.i);
    if (isnan(value.d)) return snprintf(text, NUMBER_TEXT, "nan");
    if (isinf(value.d)) return snprintf(text, NUMBER_TEXT, value.d > 0 ? "inf" : "-inf");
    if (s->scientific) return snprintf(text, NUMBER_TEXT, "%.*e", s->precision, value.d);
    if (s->whole) return snprintf(text, NUMBER_TEXT, "%.0f.", value.d);
    return snprintf(text, NUMBER_TEXT, "%.*f", s->precision, value.d);
}

// ---- the elements that are shown

typedef void visit_fn(printer *p, nnl_number value);

static bool is_hidden(const printer *p, int64_t i, int64_t size) {
    int64_t edge = p->options->edge_items;
    return p->summarised && size > 2 * edge && i >= edge && i < size - edge;
}

static void visit(printer *p, int dim, int64_t offset, visit_fn *fn) {
    const nnl_tensor *t = p->t;
    if (dim == t->shape.ndim) {
        fn(p, nnl_element_read(t->dtype, t->storage->data + (size_t)offset * nnl_dtype_size(t->dtype)));
        return;
    }
    for (int64_t i = 0; i < t->shape.size[dim]; i++) {
        if (!is_hidden(p, i, t->shape.size[dim])) visit(p, dim + 1, offset + i * t->stride[dim], fn);
    }
}

static void measure_magnitude(printer *p, nnl_number value) {
    double size = fabs(value.d);
    if (!isfinite(value.d)) return;
    p->fraction = p->fraction || size != floor(size);
    if (size > p->largest) p->largest = size;
    if (size > 0 && size < p->smallest) p->smallest = size;
}

static void measure_width(printer *p, nnl_number value) {
    char text[NUMBER_TEXT];
    int width = number_text(p, value, text);
    if (width > p->style.width) p->style.width = width;
}

// Scientific where the magnitudes are too far apart, or too large or small, for fixed digits to show them.
static void choose_style(printer *p) {
    p->largest = 0;
    p->smallest = INFINITY;
    p->style = (style){.integer = !nnl_dtype_is_float(p->t->dtype), .precision = p->options->precision};
    if (!p->style.integer) {
        visit(p, 0, p->t->offset, measure_magnitude);
        bool any = p->largest > 0;
        p->style.whole = !p->fraction;
        bool apart = any && p->largest / p->smallest > 1000;
        p->style.scientific = any && (p->largest > 1e8 || (p->fraction && (p->smallest < 1e-4 || apart)));
    }
    visit(p, 0, p->t->offset, measure_width);
}

// ---- writing

static void write_number(printer *p, int64_t offset) {
    char text[NUMBER_TEXT], padded[2 * NUMBER_TEXT];
    const nnl_tensor *t = p->t;
    number_text(p, nnl_element_read(t->dtype, t->storage->data + (size_t)offset * nnl_dtype_size(t->dtype)),
                text);
    snprintf(padded, sizeof padded, "%*s", p->style.width, text);
    put(p, padded);
}

static void write_indent(const printer *p, int depth, int lines) {
    for (int i = 0; i < lines; i++) put(p, "\n");
    for (int i = 0; i < depth; i++) put(p, " ");
}

// Rows wrap at about 80 columns.
static int items_per_line(const printer *p, int depth) {
    int room = (80 - depth) / (p->style.width + 2);
    return room > 0 ? room : 1;
}

static void write_row(printer *p, int64_t offset, int64_t size, int64_t stride, int depth) {
    int per_line = items_per_line(p, depth), shown = 0;
    bool skipped = false;
    for (int64_t i = 0; i < size; i++) {
        if (is_hidden(p, i, size)) {
            if (!skipped) put(p, ", ...");
            skipped = true;
            continue;
        }
        if (i > 0) put(p, ",");
        if (shown > 0 && shown % per_line == 0) {
            write_indent(p, depth, 1);
        } else if (i > 0) {
            put(p, " ");
        }
        write_number(p, offset + i * stride);
        shown++;
    }
}

static void write_dim(printer *p, int dim, int64_t offset, int depth) {
    const nnl_tensor *t = p->t;
    int64_t size = t->shape.size[dim];
    bool last = dim == t->shape.ndim - 1, skipped = false;
    put(p, "[");
    if (last) write_row(p, offset, size, t->stride[dim], depth + 1);
    for (int64_t i = 0; !last && i < size; i++) {
        if (is_hidden(p, i, size)) {
            if (!skipped) put(p, ",");
            if (!skipped) write_indent(p, depth + 1, 1);
            if (!skipped) put(p, "...");
            skipped = true;
            continue;
        }
        if (i > 0) put(p, ",");
        if (i > 0) write_indent(p, depth + 1, t->shape.ndim - dim - 1);
        write_dim(p, dim + 1, offset + i * t->stride[dim], depth + 1);
    }
    put(p, "]");
}

nnl_status nnl_tensor_format(nnl_context *ctx, const nnl_tensor *t, const nnl_print_options *options,
                             void (*write)(void *arg, const char *text, size_t length), void *arg) {
    char shape[NNL_SHAPE_TEXT];
    printer p = {.t = t, .options = options, .write = write, .arg = arg};
    (void)ctx;
    p.summarised = nnl_tensor_numel(t) > options->threshold;
    choose_style(&p);
    put(&p, "tensor(");
    if (t->shape.ndim == 0) {
        p.style.width = 0;
        write_number(&p, t->offset);
    } else {
        write_dim(&p, 0, t->offset, 7);
    }
    put(&p, ", shape ");
    put(&p, nnl_shape_text(&t->shape, shape));
    put(&p, ", ");
    put(&p, nnl_dtype_get(t->dtype)->name);
    put(&p, options->suffix);
    put(&p, ")");
    return NNL_OK;
}
