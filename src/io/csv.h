// csv.h: tables of numbers and classes from CSV text. A column whose first value is no number is one of
// classes: its values become labels from 1, in the order of their names.
#ifndef NNL_IO_CSV_H
#define NNL_IO_CSV_H

#include "io/bytes.h"
#include "tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct nnl_csv_text {
    const char *text;
    size_t length;
} nnl_csv_text;

// A column by its name, or, where that is NULL, by its place from 0, counted from the last where from_end.
typedef struct nnl_csv_choice {
    nnl_csv_text name;
    size_t place;
    bool from_end;
} nnl_csv_choice;

// The first row is a header unless one of its fields is a number.
typedef enum nnl_csv_header { NNL_CSV_HEADER_AUTO, NNL_CSV_HEADER, NNL_CSV_NO_HEADER } nnl_csv_header;

typedef struct nnl_csv_options {
    char separator;
    char comment; // lines that begin with it are left out; 0 for none
    nnl_csv_header header;
    size_t skip; // lines before all others
    nnl_dtype dtype;
    const nnl_csv_choice *columns; // in the order wanted; all when there are none
    size_t column_count;
    const nnl_csv_choice *classes; // columns of classes even where they look like numbers
    size_t class_count;
    const nnl_csv_text *missing; // fields that stand for no value, besides empty ones
    size_t missing_count;
    bool fills; // missing numbers become `fill`, not NaN
    double fill;
} nnl_csv_options;

nnl_csv_options nnl_csv_defaults(void);

typedef enum nnl_csv_kind { NNL_CSV_UNKNOWN, NNL_CSV_NUMBERS, NNL_CSV_CLASSES } nnl_csv_kind;

typedef struct nnl_csv_column {
    nnl_csv_text name; // empty where the table has no header
    size_t place;      // in the file
    nnl_csv_kind kind;
    nnl_bytes classes; // their names, nnl_csv_text each; the first has label 1
    nnl_bytes table;   // finds a class by its name
} nnl_csv_column;

// Owns all of it. Missing values are NaN.
typedef struct nnl_csv {
    nnl_tensor *data; // (rows, columns)
    nnl_csv_column *columns;
    size_t column_count;
    nnl_bytes text, column_list;
} nnl_csv;

// Of a file, plain or in gzip, or of a copy of memory. On failure there is nothing to free.
nnl_status nnl_csv_read(nnl_context *ctx, const char *path, const nnl_csv_options *options, nnl_csv *out);
nnl_status nnl_csv_parse(nnl_context *ctx, const char *text, size_t length, const nnl_csv_options *options,
                         nnl_csv *out);
void nnl_csv_free(nnl_csv *csv);

size_t nnl_csv_classes(const nnl_csv_column *column, const nnl_csv_text **names);

#endif
