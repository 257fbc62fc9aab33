// csv_scan.h: the rows and fields of CSV text (RFC 4180), without a meaning yet. Quoted fields are unquoted
// where they stand, so the text changes and a row can be read once.
#ifndef NNL_IO_CSV_SCAN_H
#define NNL_IO_CSV_SCAN_H

#include "io/bytes.h"
#include "io/csv.h"

typedef struct nnl_csv_scan {
    nnl_context *ctx;
    char *at, *end;
    char separator, comment;
    size_t line;      // of `at`, from 1
    size_t row_line;  // where the last row began
    nnl_bytes fields; // of the last row: nnl_csv_text each
} nnl_csv_scan;

// Past `lines` lines.
void nnl_csv_skip(nnl_csv_scan *scan, size_t lines);

// Past empty lines and comments; false at the end of the text.
bool nnl_csv_more(nnl_csv_scan *scan);

// One row into scan->fields.
nnl_status nnl_csv_row(nnl_csv_scan *scan);

#endif
