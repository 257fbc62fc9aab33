// readers.h: the readers of files that tests/c/test_fuzz_files.c gives damaged files to. Each file here has a
// list of some; a new list gets its row in FUZZ_READERS.
#ifndef NNL_TESTS_READERS_H
#define NNL_TESTS_READERS_H

#include "io/bytes.h"

#include <stdbool.h>

typedef struct fuzz_reader {
    const char *name;   // of what it reads: "JSON"
    const char *words;  // bytes that mean something to it
    const char *suffix; // of such files, ".png .apng"; NULL where none are given by hand
    // Whole files, one for each `variant` from 0 on, behind what `out` holds; false where there are no more
    // of them.
    bool (*make)(nnl_context *ctx, int variant, nnl_bytes *out);
    // Reads all of it and lets go of it again. The memory has just this size.
    nnl_status (*read)(nnl_context *ctx, const char *data, size_t size);
    // NULL, or puts checksums right again, without which nothing would get past them; called for half of the
    // files.
    void (*mend)(char *data, size_t size);
    bool ends;     // it knows where a file ends: one that is cut off anywhere is refused
    int rounds;    // damaged files in a short test; 0: as usual
    size_t memory; // the most that a file of a few kB may take; 0: as usual
} fuzz_reader;

// Ended by a NULL name.
extern const fuzz_reader fuzz_texts[], fuzz_pictures[], fuzz_data[];

#define FUZZ_READERS fuzz_texts, fuzz_pictures, fuzz_data

#endif
