// program.h: running another program: without a shell, and with files in place of pipes, so that no signal
// comes from one that ends early, and none of the two can wait for the other.
#ifndef NNL_IO_PROGRAM_H
#define NNL_IO_PROGRAM_H

#include "io/bytes.h"

// Run words[0], found in PATH, with the arguments after it; NULL ends them. It reads `size` bytes of `input`;
// what it writes, to standard error too, comes behind what `out` holds. `code` is its exit code, 128 and more
// where a signal ended it. NNL_ERR_IO where it cannot be started.
nnl_status nnl_program_run(nnl_context *ctx, const char *const *words, const void *input, size_t size,
                           nnl_bytes *out, int *code);

#endif
