// decimal.h: numbers as text and back, correctly rounded and the same in every locale: the C library's own
// functions follow the host's setlocale, which is not ours to change.
#ifndef NNL_BASE_DECIMAL_H
#define NNL_BASE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NNL_DECIMAL_TEXT 32

// Read the decimal number that begins at `text`: sign, digits, point, exponent; infinite where it is too
// large for a double. Returns the place behind it, or NULL (and leaves value alone) where no number begins.
const char *nnl_decimal_parse(const char *text, const char *end, double *value);

// The same, and also nan, inf and infinity in any case.
const char *nnl_decimal_parse_any(const char *text, const char *end, double *value);

// Whether all of text is an integer that an int64_t holds.
bool nnl_decimal_integer(const char *text, const char *end, int64_t *value);

// The fewest of 15, 16 or 17 digits that read back as the same value; returns the length.
size_t nnl_decimal_shortest(char text[NNL_DECIMAL_TEXT], double value);

// Put a point where printf has written the locale's own; returns the length.
size_t nnl_decimal_point(char *text);

#endif
