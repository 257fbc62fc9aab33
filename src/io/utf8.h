// utf8.h: what is well-formed UTF-8, and writing it (RFC 3629).
#ifndef NNL_IO_UTF8_H
#define NNL_IO_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define NNL_UTF8_MAX 4

// Bytes of the well-formed character at `at`; 0 where there is none.
size_t nnl_utf8_length(const char *at, const char *end);

// Write a character (none of the surrogates, at most 0x10ffff); returns its bytes.
size_t nnl_utf8_write(char out[NNL_UTF8_MAX], uint32_t character);

#endif
