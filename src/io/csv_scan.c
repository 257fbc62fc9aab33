// csv_scan.c: cutting text into rows and fields. Blanks around a field do not belong to it unless they are
// quoted.
#include "io/csv_scan.h"

#include <string.h>

#define COLUMN_LIMIT ((size_t)1 << 20)

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static bool is_blank(const nnl_csv_scan *s, char c) { return is_space(c) && c != s->separator; }

static void skip_blanks(nnl_csv_scan *s) {
    while (s->at < s->end && is_blank(s, *s->at)) s->at++;
}

// Several blanks between two fields are one where blanks are separators.
static void skip_run(nnl_csv_scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t')) s->at++;
}

void nnl_csv_skip(nnl_csv_scan *s, size_t lines) {
    for (; lines > 0 && s->at < s->end; lines--, s->line++) {
        char *newline = memchr(s->at, '\n', (size_t)(s->end - s->at));
        s->at = newline ? newline + 1 : s->end;
    }
}

bool nnl_csv_more(nnl_csv_scan *s) {
    while (s->at < s->end) {
        char *start = s->at;
        skip_blanks(s);
        bool empty = s->at == s->end || *s->at == '\n';
        bool comment = !empty && s->comment && *s->at == s->comment;
        s->at = start;
        if (!empty && !comment) return true;
        nnl_csv_skip(s, 1);
    }
    return false;
}

static nnl_csv_text plain_field(nnl_csv_scan *s) {
    char *start = s->at, separator = s->separator, *at = start, *end = s->end;
    while (at < end && *at != separator && *at != '\n') at++;
    s->at = at;
    while (at > start && is_blank(s, at[-1])) at--;
    return (nnl_csv_text){start, (size_t)(at - start)};
}

// From the opening quote on; NULL text where the text ends before the closing one.
static nnl_csv_text quoted_field(nnl_csv_scan *s) {
    char *start = ++s->at, *to = start;
    for (; s->at < s->end; s->at++) {
        if (*s->at == '"') {
            bool doubled = s->end - s->at > 1 && s->at[1] == '"';
            s->at++;
            if (!doubled) return (nnl_csv_text){start, (size_t)(to - start)};
        }
        s->line += *s->at == '\n';
        *to++ = *s->at;
    }
    return (nnl_csv_text){NULL, 0};
}

static nnl_status next_field(nnl_csv_scan *s, nnl_csv_text *field) {
    size_t line = s->line;
    if (s->separator == ' ') skip_run(s);
    skip_blanks(s);
    if (s->at == s->end || *s->at != '"') {
        *field = plain_field(s);
        return NNL_OK;
    }
    *field = quoted_field(s);
    if (!field->text) return nnl_fail(s->ctx, NNL_ERR_IO, "line %zu: a quoted field without end", line);
    skip_blanks(s);
    if (s->at == s->end || *s->at == s->separator || *s->at == '\n') return NNL_OK;
    return nnl_fail(s->ctx, NNL_ERR_IO, "line %zu: text behind a closing quote", s->line);
}

// Blanks before the end of a row separate nothing; of others the last one stays.
static void end_run(nnl_csv_scan *s) {
    char *start = s->at;
    while (s->at < s->end && is_space(*s->at)) s->at++;
    bool ends = s->at == s->end || *s->at == '\n';
    if (!ends && s->at > start && *start == ' ') s->at = start;
}

nnl_status nnl_csv_row(nnl_csv_scan *s) {
    s->fields.length = 0;
    s->row_line = s->line;
    for (bool more = true; more;) {
        nnl_csv_text field;
        if (next_field(s, &field) != NNL_OK) return s->ctx->status;
        if (nnl_bytes_reserve(&s->fields, sizeof field) != NNL_OK) return s->ctx->status;
        memcpy(s->fields.data + s->fields.length, &field, sizeof field);
        s->fields.length += sizeof field;
        if (s->fields.length > COLUMN_LIMIT * sizeof field)
            return nnl_fail(s->ctx, NNL_ERR_IO, "line %zu: more than %zu columns", s->row_line, COLUMN_LIMIT);
        if (s->separator == ' ') end_run(s);
        more = s->at < s->end && *s->at == s->separator;
        if (s->at < s->end) s->line += *s->at++ == '\n';
    }
    return NNL_OK;
}
