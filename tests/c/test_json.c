// test_json.c: decimal numbers, the JSON reader and the JSON writer.
#include "base/decimal.h"
#include "check.h"
#include "io/json.h"

#include <float.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

static nnl_context *ctx;

static double parsed(const char *text) {
    double value = -12345;
    const char *end = text + strlen(text);
    return nnl_decimal_parse(text, end, &value) == end ? value : -12345;
}

static uint64_t random_bits(void) {
    static uint64_t state = 88172645463325252ULL;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void test_decimal_known(void) {
    static const char *const texts[] = {
        "0",
        "-0",
        "1",
        "+2",
        "3.25",
        ".5",
        "7.",
        "1e3",
        "1E-3",
        "123456789012345678901234567890",
        "9007199254740993",
        "9007199254740993.00000000000000000000001",
        "2.2250738585072011e-308",
        "5e-324",
        "2e-324",
        "1.7976931348623157e308",
        "1e309",
        "-1e-999999999999",
        "0e999999999999",
        "0.000000000000000000000000000000000001",
        "1e23",
        "8.5e22",
        "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        double got = parsed(texts[i]), expected = strtod(texts[i], NULL);
        CHECK_MESSAGE(memcmp(&got, &expected, sizeof got) == 0, "%s read as %.17g", texts[i], got);
    }
}

// 2^-1074 * (1 + 1/2), written in full, is a midpoint: one more digit far behind decides.
static void test_decimal_ties(void) {
    char text[1200];
    int length = snprintf(text, sizeof text, "%.1080f", DBL_MIN);
    CHECK(parsed(text) == DBL_MIN);
    snprintf(text + length, sizeof text - (size_t)length, "1");
    CHECK(parsed(text) == DBL_MIN);
    length = snprintf(text, sizeof text, "9007199254740993.%0900d", 0);
    CHECK(parsed(text) == 9007199254740992.0);
    text[length - 1] = '1';
    CHECK(parsed(text) == 9007199254740994.0);
}

static void test_decimal_random(void) {
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = random_bits();
        double value, again = 0;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        char text[NNL_DECIMAL_TEXT];
        size_t length = nnl_decimal_shortest(text, value);
        nnl_decimal_parse(text, text + length, &again);
        CHECK_MESSAGE(again == value && length == strlen(text), "%a written as %s", value, text);
    }
}

static void test_decimal_refusals(void) {
    double value = 1;
    static const char *const texts[] = {"", "-", ".", "+.", "e5", "x", "-e"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        CHECK_MESSAGE(!nnl_decimal_parse(texts[i], texts[i] + strlen(texts[i]), &value), "%s", texts[i]);
    const char *text = "1e+";
    CHECK(nnl_decimal_parse(text, text + 3, &value) == text + 1);
    int64_t integer = 0;
    text = "-9223372036854775808";
    CHECK(nnl_decimal_integer(text, text + 20, &integer) && integer == INT64_MIN);
    CHECK(!nnl_decimal_integer(text + 1, text + 20, &integer));
    CHECK(!nnl_decimal_integer(text, text, &integer) && !nnl_decimal_integer(&text[18], &text[18], &integer));
}

static void test_decimal_point(void) {
    char comma[] = "-1,25e+10",
         arabic[] = "1\xd9\xab"
                    "5",
         none[] = "12";
    CHECK_INT(nnl_decimal_point(comma), 9);
    CHECK(strcmp(comma, "-1.25e+10") == 0);
    CHECK_INT(nnl_decimal_point(arabic), 3);
    CHECK(strcmp(arabic, "1.5") == 0);
    CHECK_INT(nnl_decimal_point(none), 2);
}

static char event_letter(nnl_json_event event) { return "{}[]ksinTF0.!"[event]; }

// One letter for each event of a text.
static const char *events(const char *text, size_t length) {
    static char letters[512];
    nnl_json_reader reader;
    nnl_json_reader_init(&reader, ctx, text, length);
    size_t count = 0;
    do letters[count++] = event_letter(nnl_json_next(&reader));
    while (letters[count - 1] != '.' && letters[count - 1] != '!' && count < sizeof letters - 1);
    letters[count] = '\0';
    return letters;
}

static void check_events(const char *text, const char *expected) {
    const char *got = events(text, strlen(text));
    CHECK_MESSAGE(strcmp(got, expected) == 0, "%s gave %s, not %s", text, got, expected);
}

static void check_refused(const char *text, const char *message) {
    const char *got = events(text, strlen(text));
    CHECK_MESSAGE(got[strlen(got) - 1] == '!', "%s was accepted: %s", text, got);
    CHECK_MESSAGE(strstr(ctx->error, message) != NULL, "%s: %s", text, ctx->error);
}

static void test_reader_accepts(void) {
    check_events("{\"a\": [1, 2.5, -3e2], \"b\": {}, \"\": [] }\n", "{k[inn]k{}k[]}.");
    check_events(" true ", "T.");
    check_events("[null,false,\"x\"]", "[0Fs].");
    check_events("9223372036854775807", "i.");
    check_events("9223372036854775808", "n.");
    check_events("-0", "n.");
    check_events("1e-400", "n.");
}

static void test_reader_refuses(void) {
    check_refused("", "line 1, column 1: the text ends too early");
    check_refused("[1,\n 2,]", "line 2, column 4: a value expected");
    check_refused("{\"a\":1,}", "a string in double quotes expected");
    check_refused("{\"a\" 1}", "':' expected");
    check_refused("[1}", "closing bracket expected");
    check_refused("[1] 2", "text behind the value");
    check_refused("01", "not JSON's");
    check_refused("[+1]", "a value expected");
    check_refused("[.5]", "a value expected");
    check_refused("[1.]", "not JSON's");
    check_refused("[1e]", "not JSON's");
    check_refused("1e999", "too large");
    check_refused("[NaN]", "a value expected");
    check_refused("[nul]", "a value expected");
    check_refused("\"a\nb\"", "control character");
    check_refused("\"abc", "ends too early");
    check_refused("\"\\x\"", "unknown escape");
    check_refused("\"\\ud800\"", "unknown escape");
    check_refused("\"\\udc00\\ud800\"", "unknown escape");
    check_refused("\"\\u12g4\"", "unknown escape");
    check_refused("\xef\xbb\xbf[]", "a value expected");
    check_refused("'a'", "a value expected");
    check_refused("// x\n1", "a value expected");
}

static void test_utf8(void) {
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xc3",
                                      "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[16];
        snprintf(text, sizeof text, "\"%s\"", bad[i]);
        check_refused(text, "not UTF-8");
    }
    check_events("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "s.");
}

static void test_depth(void) {
    char text[2 * NNL_JSON_DEPTH + 8];
    memset(text, '[', NNL_JSON_DEPTH);
    memset(text + NNL_JSON_DEPTH, ']', NNL_JSON_DEPTH);
    CHECK(strchr(events(text, 2 * NNL_JSON_DEPTH), '.') != NULL);
    memset(text, '[', NNL_JSON_DEPTH + 1);
    CHECK(strchr(events(text, NNL_JSON_DEPTH + 1), '!') != NULL);
    CHECK(strstr(ctx->error, "nested too deeply") != NULL);
}

static void test_strings(void) {
    const char *text = "\"a\\n\\u00e9\\ud83d\\ude00\\\"\\/\\u0000z\"";
    char out[64];
    nnl_json_reader reader;
    nnl_json_reader_init(&reader, ctx, text, strlen(text));
    CHECK(nnl_json_next(&reader) == NNL_JSON_STRING && reader.escaped);
    size_t length = nnl_json_string(&reader, out);
    CHECK(length == 12 && memcmp(out, "a\n\xc3\xa9\xf0\x9f\x98\x80\"/\0z", 12) == 0);
}

static void test_writer(void) {
    nnl_bytes out = {.ctx = ctx};
    nnl_json_writer w = {.out = &out};
    nnl_json_open(&w, '{');
    nnl_json_put_key(&w, "a\"\n\x01", 4);
    nnl_json_open(&w, '[');
    nnl_json_put_integer(&w, INT64_MIN);
    nnl_json_put_number(&w, 1);
    nnl_json_put_number(&w, 0.1);
    nnl_json_put_number(&w, -0.0);
    nnl_json_put_number(&w, 1e300);
    nnl_json_put_word(&w, "null");
    nnl_json_close(&w, ']');
    nnl_json_put_key(&w, "b", 1);
    nnl_json_open(&w, '{');
    nnl_json_close(&w, '}');
    nnl_json_close(&w, '}');
    const char *expected = "{\"a\\\"\\n\\u0001\":[-9223372036854775808,1.0,0.1,-0.0,1e+300,null],\"b\":{}}";
    CHECK(w.status == NNL_OK);
    CHECK_MESSAGE(out.length == strlen(expected) && memcmp(out.data, expected, out.length) == 0, "%.*s",
                  (int)out.length, out.data);
    check_events("{\"a\":[-9223372036854775808,1.0,0.1,-0.0,1e+300,null],\"b\":{}}", "{k[innnn0]k{}}.");
    nnl_bytes_free(&out);
}

static void test_writer_refuses(void) {
    nnl_bytes out = {.ctx = ctx};
    nnl_json_writer w = {.out = &out};
    nnl_json_put_number(&w, NAN);
    CHECK(w.status == NNL_ERR_ARGUMENT && strstr(ctx->error, "JSON has no NaN"));
    w = (nnl_json_writer){.out = &out};
    nnl_json_put_number(&w, -INFINITY);
    CHECK(w.status == NNL_ERR_ARGUMENT);
    w = (nnl_json_writer){.out = &out};
    nnl_json_put_string(&w, "a\xff", 2);
    nnl_json_put_integer(&w, 1);
    CHECK(w.status == NNL_ERR_ARGUMENT && strstr(ctx->error, "not UTF-8 (byte 2)"));
    nnl_bytes_free(&out);
}

int main(void) {
    ctx = nnl_context_new();
    check_that("known decimal numbers are read as the C library reads them");
    test_decimal_known();
    check_that("a digit far behind a midpoint decides the rounding");
    test_decimal_ties();
    check_that("every double is written so that it reads back as itself");
    test_decimal_random();
    check_that("what is no number is refused");
    test_decimal_refusals();
    check_that("any locale's decimal point becomes a point");
    test_decimal_point();
    check_that("JSON is read as a sequence of events");
    test_reader_accepts();
    check_that("what is not JSON is refused with its line and column");
    test_reader_refuses();
    check_that("strings that are not UTF-8 are refused");
    test_utf8();
    check_that("nesting has a limit");
    test_depth();
    check_that("escapes in strings are replaced, pairs of surrogates too");
    test_strings();
    check_that("the writer writes what the reader reads");
    test_writer();
    check_that("the writer refuses what JSON has not");
    test_writer_refuses();
    check_that("no memory is left in use");
    CHECK_INT(ctx->allocator.stats.live, 0);
    nnl_context_release(ctx);
    return check_end();
}
