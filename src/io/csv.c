// csv.c: rows of text into a tensor: finding the columns, reading numbers, numbering classes. See csv_scan.c
// for how text is cut into fields.
#include "io/csv.h"

#include "base/decimal.h"
#include "io/csv_scan.h"
#include "io/file.h"
#include "io/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define QUOTED 60 // bytes of a field that a message repeats, at most
#define ROWS_BETWEEN_QUESTIONS 4096

typedef struct table {
    nnl_context *ctx;
    const nnl_csv_options *options;
    nnl_csv *out;
    nnl_csv_scan scan;
    size_t width;        // columns in the file
    nnl_csv_text *names; // of all columns, where there is a header
    int64_t rows, capacity;
    size_t element_size;
    char *to;             // the next element
    bool numbers_missing; // a number may stand for no value
} table;

nnl_csv_options nnl_csv_defaults(void) { return (nnl_csv_options){.separator = ',', .dtype = NNL_FLOAT32}; }

size_t nnl_csv_classes(const nnl_csv_column *column, const nnl_csv_text **names) {
    *names = (const nnl_csv_text *)column->classes.data;
    return column->classes.length / sizeof **names;
}

static int compare(nnl_csv_text a, nnl_csv_text b) {
    size_t shared = a.length < b.length ? a.length : b.length;
    int order = shared > 0 ? memcmp(a.text, b.text, shared) : 0;
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

static int length_shown(nnl_csv_text text) { return text.length < QUOTED ? (int)text.length : QUOTED; }

// "line 3, column 2 'age': 'x' <what>"
static nnl_status refuse(table *t, const nnl_csv_column *column, nnl_csv_text field, const char *what) {
    bool named = column->name.length > 0;
    return nnl_fail(t->ctx, NNL_ERR_IO, "line %zu, column %zu%s%.*s%s: '%.*s' %s", t->scan.row_line,
                    column->place + 1, named ? " '" : "", length_shown(column->name),
                    named ? column->name.text : "", named ? "'" : "", length_shown(field), field.text, what);
}

static bool is_missing(const table *t, nnl_csv_text field) {
    if (field.length == 0) return true;
    for (size_t i = 0; i < t->options->missing_count; i++) {
        if (compare(field, t->options->missing[i]) == 0) return true;
    }
    return false;
}

// ---- numbers

static bool number_of(nnl_csv_text field, double *value) {
    const char *end = field.text + field.length;
    return nnl_decimal_parse_any(field.text, end, value) == end;
}

// Whether an element of the dtype can be just this number.
static bool holds(nnl_dtype dtype, nnl_number value) {
    int64_t memory;
    nnl_element_write(dtype, &memory, value);
    nnl_number back = nnl_element_read(dtype, &memory);
    return value.is_int && back.is_int ? back.i == value.i : back.d == value.d;
}

static nnl_status put_whole(table *t, const nnl_csv_column *column, nnl_csv_text field, double d) {
    nnl_number value = nnl_number_float(d);
    int64_t integer;
    if (nnl_decimal_integer(field.text, field.text + field.length, &integer)) value = nnl_number_int(integer);
    if (!holds(t->options->dtype, value)) return refuse(t, column, field, "does not fit the dtype");
    nnl_element_write(t->options->dtype, t->to, value);
    return NNL_OK;
}

static nnl_status put_number(table *t, const nnl_csv_column *column, nnl_csv_text field) {
    double value;
    if (!number_of(field, &value)) return refuse(t, column, field, "is not a number");
    if (!nnl_dtype_is_float(t->options->dtype)) return put_whole(t, column, field, value);
    nnl_element_write(t->options->dtype, t->to, nnl_number_float(value));
    return NNL_OK;
}

static nnl_status put_missing(table *t, const nnl_csv_column *column, nnl_csv_text field) {
    nnl_number fill = nnl_number_float(t->options->fill);
    if (t->options->fills && column->kind != NNL_CSV_CLASSES) {
        if (!nnl_dtype_holds(t->options->dtype, fill))
            return refuse(t, column, field, "has a fill beyond the dtype");
        nnl_element_write(t->options->dtype, t->to, fill);
        return NNL_OK;
    }
    if (!nnl_dtype_is_float(t->options->dtype))
        return refuse(t, column, field, "is missing, which only floats can say");
    nnl_element_write(t->options->dtype, t->to, nnl_number_float(NAN));
    return NNL_OK;
}

// ---- classes: a hash table of labels, 0 for a free place

static size_t hash_of(nnl_csv_text text) {
    uint64_t hash = 14695981039346656037ULL; // FNV-1a
    for (size_t i = 0; i < text.length; i++) hash = (hash ^ (unsigned char)text.text[i]) * 1099511628211ULL;
    return (size_t)(hash ^ (hash >> 32));
}

// The place of a class, or the free place where it belongs.
static uint32_t *class_place(const nnl_csv_column *column, nnl_csv_text name) {
    uint32_t *labels = (uint32_t *)column->table.data;
    const nnl_csv_text *names = (const nnl_csv_text *)column->classes.data;
    size_t mask = column->table.length / sizeof *labels - 1, i = hash_of(name) & mask;
    while (labels[i] != 0 && compare(names[labels[i] - 1], name) != 0) i = (i + 1) & mask;
    return &labels[i];
}

// At least half of the places stay free; their number is a power of two.
static nnl_status grow_classes(nnl_csv_column *column) {
    size_t count = column->classes.length / sizeof(nnl_csv_text);
    size_t places = column->table.length / sizeof(uint32_t);
    if (2 * (count + 1) <= places) return NNL_OK;
    size_t bytes = (places ? 2 * places : 16) * sizeof(uint32_t);
    column->table.length = 0;
    if (nnl_bytes_reserve(&column->table, bytes) != NNL_OK) return column->table.ctx->status;
    column->table.length = bytes;
    memset(column->table.data, 0, bytes);
    const nnl_csv_text *names = (const nnl_csv_text *)column->classes.data;
    for (size_t i = 0; i < count; i++) *class_place(column, names[i]) = (uint32_t)i + 1;
    return NNL_OK;
}

static nnl_status put_class(table *t, nnl_csv_column *column, nnl_csv_text field) {
    if (grow_classes(column) != NNL_OK) return t->ctx->status;
    uint32_t *label = class_place(column, field);
    if (*label == 0) {
        size_t next = column->classes.length / sizeof field + 1;
        if (next > INT32_MAX || !holds(t->options->dtype, nnl_number_int((int64_t)next)))
            return refuse(t, column, field, "is one class more than the dtype can number");
        if (nnl_bytes_add(&column->classes, &field, sizeof field) != NNL_OK) return t->ctx->status;
        *label = (uint32_t)next;
    }
    nnl_element_write(t->options->dtype, t->to, nnl_number_int(*label));
    return NNL_OK;
}

// Classes come numbered as they were met; here they get the numbers of their order by name.
typedef struct ranked {
    nnl_csv_text name;
    size_t met;
} ranked;

// Numbers come before words, in the order of their values: 2 before 10.
static int by_name(const void *a, const void *b) {
    nnl_csv_text x = ((const ranked *)a)->name, y = ((const ranked *)b)->name;
    double u = 0, v = 0;
    bool x_number = number_of(x, &u) && !isnan(u), y_number = number_of(y, &v) && !isnan(v);
    if (x_number != y_number) return x_number ? -1 : 1;
    if (x_number && u != v) return u < v ? -1 : 1;
    return compare(x, y);
}

static void relabel(const table *t, size_t position, const uint32_t *label_of) {
    char *at = (char *)nnl_tensor_data(t->out->data) + position * t->element_size;
    for (int64_t row = 0; row < t->rows; row++, at += t->out->column_count * t->element_size) {
        nnl_number met = nnl_element_read(t->options->dtype, at);
        if (!isnan(met.d)) nnl_element_write(t->options->dtype, at, nnl_number_int(label_of[met.i - 1]));
    }
}

static nnl_status sort_classes(table *t, size_t position) {
    nnl_csv_column *column = &t->out->columns[position];
    nnl_csv_text *names = (nnl_csv_text *)column->classes.data;
    size_t count = column->classes.length / sizeof *names;
    nnl_bytes order = {.ctx = t->ctx}, labels = {.ctx = t->ctx};
    if (nnl_bytes_reserve(&order, count * sizeof(ranked)) == NNL_OK &&
        nnl_bytes_reserve(&labels, count * sizeof(uint32_t)) == NNL_OK) {
        ranked *list = (ranked *)order.data;
        uint32_t *label_of = (uint32_t *)labels.data;
        for (size_t i = 0; i < count; i++) list[i] = (ranked){names[i], i};
        qsort(list, count, sizeof *list, by_name);
        for (size_t i = 0; i < count; i++) {
            names[i] = list[i].name;
            label_of[list[i].met] = (uint32_t)i + 1;
        }
        relabel(t, position, label_of);
    }
    bool sorted = labels.data != NULL;
    nnl_bytes_free(&order);
    nnl_bytes_free(&labels);
    return sorted ? NNL_OK : t->ctx->status;
}

// ---- rows

// Numbers first, which most fields are.
static nnl_status put_field(table *t, nnl_csv_column *column, nnl_csv_text field) {
    double value;
    if (column->kind == NNL_CSV_NUMBERS && t->options->dtype == NNL_FLOAT32 && !t->numbers_missing &&
        number_of(field, &value)) {
        float single = (float)value;
        memcpy(t->to, &single, sizeof single);
        return NNL_OK;
    }
    if (is_missing(t, field)) return put_missing(t, column, field);
    if (column->kind == NNL_CSV_UNKNOWN) {
        column->kind = number_of(field, &value) ? NNL_CSV_NUMBERS : NNL_CSV_CLASSES;
    }
    return column->kind == NNL_CSV_NUMBERS ? put_number(t, column, field) : put_class(t, column, field);
}

static nnl_status put_row(table *t) {
    const nnl_csv_text *fields = (const nnl_csv_text *)t->scan.fields.data;
    size_t count = t->scan.fields.length / sizeof *fields;
    if (count != t->width)
        return nnl_fail(t->ctx, NNL_ERR_IO, "line %zu: %zu fields where the lines before have %zu",
                        t->scan.row_line, count, t->width);
    if (t->rows == t->capacity) return nnl_fail(t->ctx, NNL_ERR_STATE, "more rows than lines");
    for (size_t i = 0; i < t->out->column_count; i++, t->to += t->element_size) {
        nnl_csv_column *column = &t->out->columns[i];
        if (put_field(t, column, fields[column->place]) != NNL_OK) return t->ctx->status;
    }
    t->rows++;
    return NNL_OK;
}

static nnl_status put_rows(table *t) {
    while (nnl_csv_more(&t->scan)) {
        if (nnl_csv_row(&t->scan) != NNL_OK || put_row(t) != NNL_OK) return t->ctx->status;
        if (t->rows % ROWS_BETWEEN_QUESTIONS == 0 && nnl_pool_stops(t->ctx->pool))
            return nnl_fail(t->ctx, NNL_ERR_INTERRUPTED, "interrupted");
    }
    return NNL_OK;
}

// ---- columns

static bool is_header(const table *t) {
    if (t->options->header != NNL_CSV_HEADER_AUTO) return t->options->header == NNL_CSV_HEADER;
    const nnl_csv_text *fields = (const nnl_csv_text *)t->scan.fields.data;
    for (size_t i = 0; i < t->width; i++) {
        double value;
        if (number_of(fields[i], &value)) return false;
    }
    return true;
}

static nnl_status find_column(const table *t, const nnl_csv_choice *choice, size_t *place) {
    *place = choice->place;
    if (!choice->name.text) {
        if (choice->from_end) *place = t->width - 1 - choice->place;
        if (choice->place < t->width) return NNL_OK;
        return nnl_fail(t->ctx, NNL_ERR_ARGUMENT, "no column %s%zu, there are %zu",
                        choice->from_end ? "-" : "", choice->place + 1, t->width);
    }
    for (size_t i = 0; t->names && i < t->width; i++) {
        *place = i;
        if (compare(t->names[i], choice->name) == 0) return NNL_OK;
    }
    return nnl_fail(t->ctx, NNL_ERR_ARGUMENT, "no column is called '%.*s'%s", length_shown(choice->name),
                    choice->name.text, t->names ? "" : ": the table has no header");
}

static nnl_csv_column *chosen_column(const table *t, size_t place) {
    for (size_t i = 0; i < t->out->column_count; i++) {
        if (t->out->columns[i].place == place) return &t->out->columns[i];
    }
    return NULL;
}

static nnl_status add_column(table *t, size_t place) {
    nnl_csv_column column = {.place = place, .classes.ctx = t->ctx, .table.ctx = t->ctx};
    if (t->names) column.name = t->names[place];
    if (nnl_bytes_add(&t->out->column_list, &column, sizeof column) != NNL_OK) return t->ctx->status;
    t->out->columns = (nnl_csv_column *)t->out->column_list.data;
    t->out->column_count++;
    return NNL_OK;
}

static nnl_status choose_columns(table *t) {
    const nnl_csv_options *options = t->options;
    for (size_t i = 0; options->column_count == 0 && i < t->width; i++) {
        if (add_column(t, i) != NNL_OK) return t->ctx->status;
    }
    for (size_t i = 0; i < options->column_count; i++) {
        size_t place;
        if (find_column(t, &options->columns[i], &place) != NNL_OK) return t->ctx->status;
        if (chosen_column(t, place))
            return nnl_fail(t->ctx, NNL_ERR_ARGUMENT, "column %zu is chosen twice", place + 1);
        if (add_column(t, place) != NNL_OK) return t->ctx->status;
    }
    for (size_t i = 0; i < options->class_count; i++) {
        size_t place;
        if (find_column(t, &options->classes[i], &place) != NNL_OK) return t->ctx->status;
        nnl_csv_column *column = chosen_column(t, place);
        if (column) column->kind = NNL_CSV_CLASSES;
    }
    return NNL_OK;
}

// ---- the table

static int64_t count_lines(const char *at, const char *end) {
    int64_t count = 1;
    for (; at < end; at++) count += *at == '\n';
    return count;
}

// Room for as many rows as there are lines, though no more than the bytes can hold: each row has width - 1
// separators and an end.
static nnl_status make_room(table *t, bool first_row) {
    int64_t bytes = (int64_t)(t->scan.end - t->scan.at) + 1;
    t->capacity = count_lines(t->scan.at, t->scan.end);
    if (t->capacity > bytes / (int64_t)t->width + 1) t->capacity = bytes / (int64_t)t->width + 1;
    t->capacity += first_row;
    nnl_shape shape = nnl_shape_of(2, (int64_t[]){t->capacity, (int64_t)t->out->column_count});
    t->out->data = nnl_tensor_new(t->ctx, t->options->dtype, &shape);
    if (!t->out->data) return t->ctx->status;
    t->element_size = nnl_dtype_size(t->options->dtype);
    t->to = nnl_tensor_data(t->out->data);
    return NNL_OK;
}

static nnl_status read_table(table *t, nnl_bytes *names) {
    nnl_csv_scan *scan = &t->scan;
    if (scan->end - scan->at >= 3 && memcmp(scan->at, "\xef\xbb\xbf", 3) == 0) scan->at += 3;
    nnl_csv_skip(scan, t->options->skip);
    if (!nnl_csv_more(scan)) return nnl_fail(t->ctx, NNL_ERR_IO, "no rows");
    if (nnl_csv_row(scan) != NNL_OK) return t->ctx->status;
    t->width = scan->fields.length / sizeof(nnl_csv_text);
    bool header = is_header(t);
    if (header) {
        if (nnl_bytes_add(names, scan->fields.data, scan->fields.length) != NNL_OK) return t->ctx->status;
        t->names = (nnl_csv_text *)names->data;
    }
    if (choose_columns(t) != NNL_OK || make_room(t, !header) != NNL_OK) return t->ctx->status;
    if ((!header && put_row(t) != NNL_OK) || put_rows(t) != NNL_OK) return t->ctx->status;
    t->out->data->shape.size[0] = t->rows;
    for (size_t i = 0; i < t->out->column_count; i++) {
        bool classes = t->out->columns[i].classes.length > 0;
        if (classes && sort_classes(t, i) != NNL_OK) return t->ctx->status;
    }
    return NNL_OK;
}

// Takes out->text, which changes as it is read.
static nnl_status read_text(nnl_context *ctx, const nnl_csv_options *options, nnl_csv *out) {
    nnl_bytes names = {.ctx = ctx};
    char *text = out->text.data;
    table t = {.ctx = ctx,
               .options = options,
               .out = out,
               .scan = {.ctx = ctx, .at = text, .end = text, .separator = options->separator, .line = 1}};
    if (text) t.scan.end += out->text.length;
    for (size_t i = 0; i < options->missing_count && !t.numbers_missing; i++) {
        double value;
        t.numbers_missing = number_of(options->missing[i], &value);
    }
    t.scan.comment = options->comment;
    t.scan.fields.ctx = ctx;
    nnl_status status = read_table(&t, &names);
    nnl_bytes_free(&names);
    nnl_bytes_free(&t.scan.fields);
    if (status != NNL_OK) nnl_csv_free(out);
    return status;
}

// The text, in the place of its compressed bytes.
static nnl_status unpack(nnl_csv *csv) {
    nnl_context *ctx = csv->text.ctx;
    nnl_bytes text = {.ctx = ctx};
    nnl_source source;
    nnl_status status = nnl_source_open(&source, ctx, csv->text.data, csv->text.length, NNL_GZIP);
    if (status != NNL_OK) return status;
    status = nnl_source_rest(&source, &text);
    nnl_source_close(&source);
    nnl_bytes_free(&csv->text);
    csv->text = text;
    return status;
}

nnl_status nnl_csv_read(nnl_context *ctx, const char *path, const nnl_csv_options *options, nnl_csv *out) {
    *out = (nnl_csv){.text.ctx = ctx, .column_list.ctx = ctx};
    nnl_status status = nnl_file_read(ctx, path, &out->text);
    if (status == NNL_OK && nnl_is_gzip(out->text.data, out->text.length) && unpack(out) != NNL_OK)
        status = nnl_file_blame(ctx, path);
    if (status != NNL_OK) {
        nnl_csv_free(out);
        return status;
    }
    status = read_text(ctx, options, out);
    return status == NNL_OK ? NNL_OK : nnl_file_blame(ctx, path);
}

nnl_status nnl_csv_parse(nnl_context *ctx, const char *text, size_t length, const nnl_csv_options *options,
                         nnl_csv *out) {
    *out = (nnl_csv){.text.ctx = ctx, .column_list.ctx = ctx};
    if (nnl_bytes_add(&out->text, text, length) != NNL_OK) {
        nnl_csv_free(out);
        return ctx->status;
    }
    return read_text(ctx, options, out);
}

void nnl_csv_free(nnl_csv *csv) {
    nnl_tensor_release(csv->data);
    for (size_t i = 0; i < csv->column_count; i++) {
        nnl_bytes_free(&csv->columns[i].classes);
        nnl_bytes_free(&csv->columns[i].table);
    }
    nnl_bytes_free(&csv->text);
    nnl_bytes_free(&csv->column_list);
    *csv = (nnl_csv){.data = NULL};
}
