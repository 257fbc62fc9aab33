// json.c: the JSON reader. nnl_json_next knows from `expect` and the stack of brackets what may stand here.
// See json_write.c for the writer.
#include "io/json.h"

#include "base/decimal.h"
#include "io/utf8.h"

#include <math.h>
#include <string.h>

enum expect {
    EXPECT_VALUE,
    EXPECT_FIRST, // a first item, or the closing bracket
    EXPECT_MORE,  // a comma and another item, or the closing bracket, or the end of the text
    EXPECT_NOTHING,
};

void nnl_json_reader_init(nnl_json_reader *reader, nnl_context *ctx, const char *text, size_t length) {
    *reader =
        (nnl_json_reader){.ctx = ctx, .text = text, .at = text, .end = text + length, .expect = EXPECT_VALUE};
}

nnl_status nnl_json_refuse(nnl_json_reader *r, const char *what) {
    size_t line = 1;
    const char *start = r->text;
    for (const char *at = r->text; at < r->at; at++) {
        if (*at != '\n') continue;
        line++;
        start = at + 1;
    }
    r->expect = EXPECT_NOTHING;
    return nnl_fail(r->ctx, NNL_ERR_IO, "JSON, line %zu, column %zu: %s", line, (size_t)(r->at - start) + 1,
                    what);
}

static nnl_json_event refuse(nnl_json_reader *r, const char *what) {
    nnl_json_refuse(r, r->at == r->end ? "the text ends too early" : what);
    return NNL_JSON_ERROR;
}

static void skip_space(nnl_json_reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')) r->at++;
}

static bool next_is(const nnl_json_reader *r, char c) { return r->at < r->end && *r->at == c; }

static bool take(nnl_json_reader *r, char c) {
    if (!next_is(r, c)) return false;
    r->at++;
    return true;
}

static nnl_json_event open_bracket(nnl_json_reader *r, bool object) {
    if (r->depth == NNL_JSON_DEPTH) return refuse(r, "nested too deeply");
    r->at++;
    r->in_object[++r->depth] = object;
    r->expect = EXPECT_FIRST;
    return object ? NNL_JSON_OBJECT : NNL_JSON_ARRAY;
}

static bool at_closing_bracket(const nnl_json_reader *r) {
    return r->depth > 0 && next_is(r, r->in_object[r->depth] ? '}' : ']');
}

static nnl_json_event close_bracket(nnl_json_reader *r) {
    r->at++;
    r->expect = EXPECT_MORE;
    return r->in_object[r->depth--] ? NNL_JSON_OBJECT_END : NNL_JSON_ARRAY_END;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    char letter = (char)(c | 32);
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

// The four digits of \uXXXX; -1 where they are none.
static int32_t hex_unit(const char *at, const char *end) {
    if (end - at < 4) return -1;
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0) return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

// The character of an escape \uXXXX or of a pair of them, `at` being behind the u; moves it. -1 for none.
static int32_t unicode_escape(const char **at, const char *end) {
    int32_t unit = hex_unit(*at, end);
    if (unit < 0) return -1;
    *at += 4;
    if (unit < 0xd800 || unit > 0xdfff) return unit;
    if (unit >= 0xdc00 || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u') return -1;
    int32_t low = hex_unit(*at + 2, end);
    if (low < 0xdc00 || low > 0xdfff) return -1;
    *at += 6;
    return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
}

// What a letter behind a backslash stands for; 0 for none.
static char simple_escape(char c) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter = c ? strchr(letters, c) : NULL;
    return letter ? meanings[letter - letters] : '\0';
}

static bool skip_escape(nnl_json_reader *r) {
    if (r->end - r->at < 2) return false;
    if (r->at[1] != 'u') {
        if (!simple_escape(r->at[1])) return false;
        r->at += 2;
        return true;
    }
    const char *at = r->at + 2;
    if (unicode_escape(&at, r->end) < 0) return false;
    r->at = at;
    return true;
}

// Finds the end of a string and checks all of it, so that nnl_json_string cannot fail.
static nnl_json_event read_string(nnl_json_reader *r, nnl_json_event event) {
    if (!take(r, '"')) return refuse(r, "a string in double quotes expected");
    r->string = r->at;
    r->escaped = false;
    while (r->at < r->end && *r->at != '"') {
        if (*r->at == '\\') {
            r->escaped = true;
            if (!skip_escape(r)) return refuse(r, "unknown escape in a string");
            continue;
        }
        size_t length = nnl_utf8_length(r->at, r->end);
        if (length == 0) return refuse(r, "a string that is not UTF-8");
        if ((unsigned char)*r->at < 0x20) return refuse(r, "a control character in a string");
        r->at += length;
    }
    r->length = (size_t)(r->at - r->string);
    if (!take(r, '"')) return refuse(r, "a string without end");
    r->expect = EXPECT_MORE;
    return event;
}

size_t nnl_json_string(const nnl_json_reader *r, char *out) {
    char *to = out;
    for (const char *at = r->string, *end = at + r->length; at < end;) {
        if (*at != '\\') {
            *to++ = *at++;
        } else if (at[1] != 'u') {
            *to++ = simple_escape(at[1]);
            at += 2;
        } else {
            at += 2;
            to += nnl_utf8_write(to, (uint32_t)unicode_escape(&at, end));
        }
    }
    return (size_t)(to - out);
}

static nnl_json_event read_key(nnl_json_reader *r) {
    if (read_string(r, NNL_JSON_KEY) == NNL_JSON_ERROR) return NNL_JSON_ERROR;
    skip_space(r);
    if (!take(r, ':')) return refuse(r, "':' expected behind a key");
    r->expect = EXPECT_VALUE;
    return NNL_JSON_KEY;
}

static bool skip_digits(nnl_json_reader *r) {
    const char *first = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
    return r->at > first;
}

// Moves over a number of JSON's grammar, which is narrower than C's.
static bool skip_number(nnl_json_reader *r, bool *whole) {
    take(r, '-');
    bool zero = next_is(r, '0');
    const char *first = r->at;
    if (!skip_digits(r) || (zero && r->at - first > 1)) return false;
    *whole = true;
    if (take(r, '.')) {
        *whole = false;
        if (!skip_digits(r)) return false;
    }
    if (!take(r, 'e') && !take(r, 'E')) return true;
    *whole = false;
    if (!take(r, '+')) take(r, '-');
    return skip_digits(r);
}

static nnl_json_event read_number(nnl_json_reader *r) {
    const char *text = r->at;
    bool whole = false;
    if (!skip_number(r, &whole)) {
        r->at = text;
        return refuse(r, "a number that is not JSON's");
    }
    nnl_decimal_parse(text, r->at, &r->number);
    r->expect = EXPECT_MORE;
    bool negative_zero = *text == '-' && r->number == 0; // no integer has one
    if (whole && !negative_zero && nnl_decimal_integer(text, r->at, &r->integer)) return NNL_JSON_INTEGER;
    if (!isinf(r->number)) return NNL_JSON_NUMBER;
    r->at = text;
    return refuse(r, "a number too large for a double");
}

static nnl_json_event read_word(nnl_json_reader *r, const char *word, nnl_json_event event) {
    size_t length = strlen(word);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0)
        return refuse(r, "a value expected");
    r->at += length;
    r->expect = EXPECT_MORE;
    return event;
}

static nnl_json_event read_value(nnl_json_reader *r) {
    if (r->at == r->end) return refuse(r, "");
    switch (*r->at) {
    case '{':
        return open_bracket(r, true);
    case '[':
        return open_bracket(r, false);
    case '"':
        return read_string(r, NNL_JSON_STRING);
    case 't':
        return read_word(r, "true", NNL_JSON_TRUE);
    case 'f':
        return read_word(r, "false", NNL_JSON_FALSE);
    case 'n':
        return read_word(r, "null", NNL_JSON_NULL);
    default:
        if (*r->at == '-' || (*r->at >= '0' && *r->at <= '9')) return read_number(r);
        return refuse(r, "a value expected");
    }
}

nnl_json_event nnl_json_next(nnl_json_reader *r) {
    if (r->expect == EXPECT_NOTHING) return NNL_JSON_ERROR;
    skip_space(r);
    if (r->expect == EXPECT_VALUE) return read_value(r);
    if (at_closing_bracket(r)) return close_bracket(r);
    if (r->expect == EXPECT_MORE) {
        if (r->depth == 0) return r->at == r->end ? NNL_JSON_END : refuse(r, "text behind the value");
        if (!take(r, ',')) return refuse(r, "',' or the closing bracket expected");
        skip_space(r);
    }
    return r->in_object[r->depth] ? read_key(r) : read_value(r);
}
