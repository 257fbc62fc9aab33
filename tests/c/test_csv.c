// test_csv.c: reading tables from CSV text.
#include "check.h"
#include "io/csv.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static nnl_context *ctx;

static bool parse_with(const char *text, nnl_csv_options options, nnl_csv *out) {
    nnl_status status = nnl_csv_parse(ctx, text, strlen(text), &options, out);
    return CHECK_MESSAGE(status == NNL_OK, "%s: %s", text, ctx->error);
}

static double at(const nnl_csv *csv, int64_t row, int64_t column) {
    const nnl_tensor *t = csv->data;
    size_t size = nnl_dtype_size(t->dtype);
    int64_t place = row * t->shape.size[1] + column;
    return nnl_element_read(t->dtype, (char *)nnl_tensor_data(t) + (size_t)place * size).d;
}

// All elements, in rows, must be these.
static void check_table(const char *text, nnl_csv_options options, int64_t rows, int64_t columns,
                        const double *expected) {
    nnl_csv csv;
    if (!parse_with(text, options, &csv)) return;
    CHECK_INT(csv.data->shape.size[0], rows);
    CHECK_INT(csv.data->shape.size[1], columns);
    bool same = csv.data->shape.size[0] == rows && csv.data->shape.size[1] == columns;
    for (int64_t i = 0; same && i < rows * columns; i++) {
        CHECK_MESSAGE(check_is_near(at(&csv, i / columns, i % columns), expected[i], 0),
                      "%s: element %d is %g", text, (int)i, at(&csv, i / columns, i % columns));
    }
    nnl_csv_free(&csv);
}

static void check_refused_with(const char *text, nnl_csv_options options, const char *message) {
    nnl_csv csv;
    nnl_status status = nnl_csv_parse(ctx, text, strlen(text), &options, &csv);
    CHECK_MESSAGE(status != NNL_OK, "accepted: %s", text);
    CHECK_MESSAGE(status != NNL_OK && strstr(ctx->error, message), "%s: %s", text, ctx->error);
    if (status == NNL_OK) nnl_csv_free(&csv);
}

static bool is_text(nnl_csv_text text, const char *expected) {
    return text.length == strlen(expected) && memcmp(text.text, expected, text.length) == 0;
}

#define VALUES(...) ((const double[]){__VA_ARGS__})

static void test_numbers(void) {
    nnl_csv_options options = nnl_csv_defaults();
    options.dtype = NNL_FLOAT64;
    check_table("1,2\n3,4\n", options, 2, 2, VALUES(1, 2, 3, 4));
    check_table("1,2\r\n3,4", options, 2, 2, VALUES(1, 2, 3, 4));
    check_table("\n1, 2 \n\n 3\t,4\n\n", options, 2, 2, VALUES(1, 2, 3, 4));
    check_table("-1.5e3,.25,+7,5.\n", options, 1, 4, VALUES(-1500, 0.25, 7, 5));
    check_table("0.1,123456789.123456789,1e400,-inf,NaN", options, 1, 5,
                VALUES(0.1, 123456789.123456789, INFINITY, -INFINITY, NAN));
    check_table("\"1\",\"2\"\n", options, 1, 2, VALUES(1, 2));
    check_table("\xef\xbb\xbf"
                "1,2\n",
                options, 1, 2, VALUES(1, 2));
}

static void test_missing(void) {
    nnl_csv_options options = nnl_csv_defaults();
    check_table("1,,3\n,5,\n", options, 2, 3, VALUES(1, NAN, 3, NAN, 5, NAN));
    check_table(",\n,2\n", (nnl_csv_options){.separator = ',', .header = NNL_CSV_NO_HEADER}, 2, 2,
                VALUES(NAN, NAN, NAN, 2));
    nnl_csv_text missing[] = {{"NA", 2}, {"?", 1}};
    options.missing = missing;
    options.missing_count = 2;
    check_table("1,NA\n?,2\n", options, 2, 2, VALUES(1, NAN, NAN, 2));
    options.dtype = NNL_INT64;
    check_refused_with("1,2\n1,\n", options, "line 2, column 2: '' is missing");
}

static void test_header(void) {
    nnl_csv csv;
    nnl_csv_options options = nnl_csv_defaults();
    if (!parse_with("a,\"b \"\"c\"\"\nd\",\n1,2,3\n", options, &csv)) return;
    CHECK(is_text(csv.columns[0].name, "a") && is_text(csv.columns[1].name, "b \"c\"\nd"));
    CHECK_INT(csv.columns[2].name.length, 0);
    CHECK_INT(csv.data->shape.size[0], 1);
    nnl_csv_free(&csv);
    options.header = NNL_CSV_HEADER;
    check_table("1990,1991\n1,2\n", options, 1, 2, VALUES(1, 2));
    check_table("a,b\n", options, 0, 2, NULL);
    options.header = NNL_CSV_NO_HEADER;
    check_table("a,b\nb,a\n", options, 2, 2, VALUES(1, 2, 2, 1));
}

static void test_classes(void) {
    nnl_csv csv;
    nnl_csv_options options = nnl_csv_defaults();
    if (!parse_with("x,kind\n1,setosa\n2,\"iris, other\"\n3,\n4,setosa\n5,7\n", options, &csv)) return;
    const nnl_csv_text *names;
    CHECK_INT(nnl_csv_classes(&csv.columns[0], &names), 0);
    CHECK_INT(nnl_csv_classes(&csv.columns[1], &names), 3);
    CHECK(is_text(names[0], "7") && is_text(names[1], "iris, other") && is_text(names[2], "setosa"));
    static const double labels[] = {3, 2, NAN, 3, 1};
    for (int row = 0; row < 5; row++) CHECK_NEAR(at(&csv, row, 1), labels[row], 0);
    nnl_csv_free(&csv);
}

static void test_many_classes(void) {
    static char text[200000];
    size_t used = 0;
    for (int i = 0; i < 10000; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "name %05d\n", (i * 7919) % 10000);
    nnl_csv csv;
    nnl_csv_options options = nnl_csv_defaults();
    options.header = NNL_CSV_NO_HEADER;
    if (!parse_with(text, options, &csv)) return;
    for (int i = 0; i < 10000; i++) CHECK_NEAR(at(&csv, i, 0), (i * 7919) % 10000 + 1, 0);
    nnl_csv_free(&csv);
    options.dtype = NNL_UINT8;
    check_refused_with(text, options, "line 256, column 1: 'name 09345' is one class more than the dtype");
}

static void test_chosen_columns(void) {
    nnl_csv_choice choices[] = {{.name = {"c", 1}}, {.place = 0}}, digit = {.name = {"c", 1}};
    nnl_csv_options options = nnl_csv_defaults();
    options.columns = choices;
    options.column_count = 2;
    check_table("a,b,c\n1,text,3\n2,1,4\n", options, 2, 2, VALUES(3, 1, 4, 2));
    options.classes = &digit;
    options.class_count = 1;
    check_table("a,b,c\n1,,9\n2,,5\n", options, 2, 2, VALUES(2, 1, 1, 2));
    check_refused_with("1,2,3\n", options, "no column is called 'c': the table has no header");
    check_refused_with("a,b,d\n", options, "no column is called 'c'");
    check_refused_with("c,b\n", options, "column 1 is chosen twice");
    options.column_count = 1;
    choices[0] = (nnl_csv_choice){.place = 2};
    check_refused_with("a,c\n", options, "no column 3, there are 2");
}

static void test_layouts(void) {
    nnl_csv_options options = nnl_csv_defaults();
    options.separator = '\t';
    check_table("1\t\t3\n", options, 1, 3, VALUES(1, NAN, 3));
    options.separator = ';';
    options.comment = '#';
    options.skip = 2;
    check_table("a title,\nits second \"line\n# more\nx;y\n1;2\n  # end\n", options, 1, 2, VALUES(1, 2));
}

static void test_dtypes(void) {
    nnl_csv_options options = nnl_csv_defaults();
    options.dtype = NNL_INT64;
    nnl_csv csv;
    if (parse_with("9007199254740993,-3\n", options, &csv)) {
        CHECK(*(int64_t *)nnl_tensor_data(csv.data) == 9007199254740993LL);
        nnl_csv_free(&csv);
    }
    check_table("3.0,1e3\n", options, 1, 2, VALUES(3, 1000));
    check_refused_with("2.5\n", options, "'2.5' does not fit the dtype");
    check_refused_with("1e30\n", options, "does not fit");
    check_refused_with("nan\n", options, "does not fit");
    options.dtype = NNL_UINT8;
    check_table("0,255\n", options, 1, 2, VALUES(0, 255));
    check_refused_with("256\n", options, "does not fit");
    check_refused_with("-1\n", options, "does not fit");
    options.dtype = NNL_BOOL;
    check_refused_with("0,1,2\n", options, "column 3: '2' does not fit");
    options.dtype = NNL_BFLOAT16;
    check_table("1.5,-2\n", options, 1, 2, VALUES(1.5, -2));
}

static void test_refusals(void) {
    nnl_csv_options options = nnl_csv_defaults();
    check_refused_with("", options, "no rows");
    check_refused_with("\n \r\n", options, "no rows");
    check_refused_with("a,b\n1,2\n\n1\n", options, "line 4: 1 fields where the lines before have 2");
    check_refused_with("a,b\n1,2\n1,2,3\n", options, "line 3: 3 fields");
    check_refused_with("x,age\n1,2\n1,old\n", options, "line 3, column 2 'age': 'old' is not a number");
    check_refused_with("1,2\n1,2x\n", options, "line 2, column 2: '2x' is not a number");
    check_refused_with("1,\"a\n\n", options, "line 1: a quoted field without end");
    check_refused_with("1,\"a\"b\n", options, "line 1: text behind a closing quote");
    check_refused_with("a,b\n\"1\n2\",3\n4,5\n6\n", options, "line 5: 1 fields");
}

static void test_files(void) {
    char path[] = P_tmpdir "/nnlua_test_XXXXXX";
    int descriptor = mkstemp(path);
    nnl_csv csv;
    nnl_csv_options options = nnl_csv_defaults();
    CHECK(write(descriptor, "a,b\n1,2\n1,x\n", 12) == 12);
    CHECK(nnl_csv_read(ctx, path, &options, &csv) == NNL_ERR_IO);
    CHECK_MESSAGE(strncmp(ctx->error, path, strlen(path)) == 0 &&
                      strstr(ctx->error, ": line 3, column 2 'b'"),
                  "%s", ctx->error);
    CHECK(ftruncate(descriptor, 8) == 0);
    if (CHECK(nnl_csv_read(ctx, path, &options, &csv) == NNL_OK)) {
        CHECK_NEAR(at(&csv, 0, 1), 2, 0);
        nnl_csv_free(&csv);
    }
    close(descriptor);
    unlink(path);
    CHECK(nnl_csv_read(ctx, path, &options, &csv) == NNL_ERR_IO);
    CHECK(strstr(ctx->error, "cannot open: No such file") != NULL);
    CHECK(nnl_csv_read(ctx, P_tmpdir, &options, &csv) == NNL_ERR_IO);
}

static void test_out_of_memory(void) {
    nnl_csv csv;
    nnl_csv_options options = nnl_csv_defaults();
    size_t live = ctx->allocator.stats.live;
    nnl_status status = NNL_ERR_MEMORY;
    const char *text = "a,b\n1,x\n2,y\n";
    for (int k = 0; k < 100 && status != NNL_OK; k++) {
        ctx->allocator.fail_after = k;
        status = nnl_csv_parse(ctx, text, strlen(text), &options, &csv);
        CHECK(status == NNL_OK || status == NNL_ERR_MEMORY);
        if (status != NNL_OK) CHECK_INT(ctx->allocator.stats.live, live);
    }
    ctx->allocator.fail_after = -1;
    if (CHECK(status == NNL_OK)) nnl_csv_free(&csv);
}

int main(void) {
    ctx = nnl_context_new();
    check_that("numbers are read in all their spellings");
    test_numbers();
    check_that("empty fields and those named as missing are NaN");
    test_missing();
    check_that("a first row without numbers names the columns");
    test_header();
    check_that("text becomes classes, numbered in the order of their names");
    test_classes();
    check_that("there may be many classes, as far as the dtype can number them");
    test_many_classes();
    check_that("columns are chosen by name and place, in any order");
    test_chosen_columns();
    check_that("separator, comments and lines to skip are the caller's choice");
    test_layouts();
    check_that("numbers that a dtype cannot hold are refused, not changed");
    test_dtypes();
    check_that("a table that is none is refused with its line");
    test_refusals();
    check_that("messages about a file begin with its path");
    test_files();
    check_that("running out of memory is an error each time and leaks nothing");
    test_out_of_memory();
    check_that("no memory is left in use");
    CHECK_INT(ctx->allocator.stats.live, 0);
    CHECK_INT(ctx->live_tensors, 0);
    nnl_context_release(ctx);
    return check_end();
}
