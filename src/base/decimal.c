// decimal.c: reading and writing decimal numbers. Short ones are exact in one multiplication or division
// (Clinger, "How to read floating point numbers accurately", 1990); the rest go to strtod as an integer and
// an exponent, which no locale writes differently.
#include "base/decimal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANTISSA_DIGITS 19 // that an uint64_t always holds
#define DECISIVE_DIGITS                                                                                      \
    780 // no double or midpoint between two has more than 767: what follows only breaks ties
#define EXPONENT_LIMIT 100000

static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                       1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

typedef struct decimal {
    bool negative, truncated; // truncated: digits other than 0 follow those of the mantissa
    uint64_t mantissa;        // the first significant digits
    int digits;               // how many
    int64_t exponent;         // the value is about mantissa * 10^exponent
    const char *first, *end;  // all digits, and the point among them
} decimal;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static const char *read_digits(decimal *d, const char *at, const char *end, bool fraction) {
    for (; at < end && is_digit(*at); at++) {
        if (d->digits < MANTISSA_DIGITS) {
            d->mantissa = d->mantissa * 10 + (uint64_t)(*at - '0');
            d->digits += d->mantissa > 0;
            d->exponent -= fraction;
        } else {
            d->truncated = d->truncated || *at != '0';
            d->exponent += !fraction;
        }
    }
    return at;
}

// An e with no digits behind it is not part of the number.
static const char *read_exponent(decimal *d, const char *text, const char *end) {
    const char *at = text;
    if (at == end || (*at != 'e' && *at != 'E')) return text;
    at++;
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    if (at == end || !is_digit(*at)) return text;
    int64_t exponent = 0;
    for (; at < end && is_digit(*at); at++) {
        if (exponent < EXPONENT_LIMIT) exponent = exponent * 10 + (*at - '0');
    }
    d->exponent += negative ? -exponent : exponent;
    return at;
}

static const char *read_decimal(decimal *d, const char *text, const char *end) {
    const char *at = text;
    *d = (decimal){.negative = at < end && *at == '-'};
    if (at < end && (*at == '-' || *at == '+')) at++;
    d->first = at;
    const char *point = at = read_digits(d, at, end, false);
    if (at < end && *at == '.') at = read_digits(d, at + 1, end, true);
    if (at - d->first == (at > point)) return NULL; // no digit on either side of the point
    d->end = at;
    return read_exponent(d, at, end);
}

// The significant digits, cut after the last that can matter, in `out`; returns how many.
static int decisive_digits(const decimal *d, char *out) {
    int count = 0;
    bool more = false;
    for (const char *at = d->first; at < d->end; at++) {
        if (*at == '.' || (count == 0 && *at == '0')) continue;
        if (count < DECISIVE_DIGITS)
            out[count++] = *at;
        else
            more = more || *at != '0';
    }
    if (more) out[count++] = '1';
    return count;
}

static double read_slowly(const decimal *d) {
    char text[DECISIVE_DIGITS + 32];
    int64_t exponent = d->exponent;
    int count = MANTISSA_DIGITS;
    if (d->truncated) {
        count = decisive_digits(d, text);
        exponent -= count - MANTISSA_DIGITS;
    } else {
        count = snprintf(text, sizeof text, "%llu", (unsigned long long)d->mantissa);
    }
    if (exponent > EXPONENT_LIMIT) exponent = EXPONENT_LIMIT;
    if (exponent < -EXPONENT_LIMIT) exponent = -EXPONENT_LIMIT;
    snprintf(text + count, sizeof text - (size_t)count, "e%lld", (long long)exponent);
    return strtod(text, NULL);
}

static double magnitude(const decimal *d) {
    if (d->mantissa == 0) return 0;
    if (d->truncated || d->mantissa > 1ULL << 53 || d->exponent < -22 || d->exponent > 22)
        return read_slowly(d);
    double mantissa = (double)d->mantissa;
    return d->exponent < 0 ? mantissa / powers_of_ten[-d->exponent] : mantissa * powers_of_ten[d->exponent];
}

const char *nnl_decimal_parse(const char *text, const char *end, double *value) {
    decimal d;
    const char *at = read_decimal(&d, text, end);
    if (!at) return NULL;
    double size = magnitude(&d);
    *value = d.negative ? -size : size;
    return at;
}

static const char *read_word(const char *at, const char *end, const char *word) {
    for (; *word; word++, at++) {
        if (at == end || (*at | 32) != *word) return NULL;
    }
    return at;
}

const char *nnl_decimal_parse_any(const char *text, const char *end, double *value) {
    const char *after = nnl_decimal_parse(text, end, value);
    if (after) return after;
    const char *at = text;
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    double size = NAN;
    after = read_word(at, end, "nan");
    if (!after) {
        size = INFINITY;
        after = read_word(at, end, "infinity");
    }
    if (!after) after = read_word(at, end, "inf");
    if (after) *value = negative ? -size : size;
    return after;
}

bool nnl_decimal_integer(const char *text, const char *end, int64_t *value) {
    const char *at = text;
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    if (at == end) return false;
    int64_t sum = 0; // kept negative, which reaches one further
    for (; at < end; at++) {
        if (!is_digit(*at)) return false;
        if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_sub_overflow(sum, *at - '0', &sum))
            return false;
    }
    if (!negative && sum == INT64_MIN) return false;
    *value = negative ? sum : -sum;
    return true;
}

size_t nnl_decimal_shortest(char text[NNL_DECIMAL_TEXT], double value) {
    size_t length = 0;
    for (int digits = 15; digits <= 17; digits++) {
        double again = 0;
        snprintf(text, NNL_DECIMAL_TEXT, "%.*g", digits, value);
        length = nnl_decimal_point(text);
        nnl_decimal_parse(text, text + length, &again);
        if (again == value) break;
    }
    return length;
}

static bool is_point(char c) {
    bool letter = (c | 32) >= 'a' && (c | 32) <= 'z';
    return !is_digit(c) && !letter && c != '-' && c != '+' && c != ' ' && c != '\0';
}

// A locale's point can take several bytes.
size_t nnl_decimal_point(char *text) {
    char *at = text;
    while (*at && !is_point(*at)) at++;
    if (!*at) return (size_t)(at - text);
    char *rest = at + 1;
    while (is_point(*rest)) rest++;
    *at = '.';
    size_t tail = strlen(rest);
    memmove(at + 1, rest, tail + 1);
    return (size_t)(at - text) + 1 + tail;
}
