// sort.h: orders of 32-bit keys. An item is a key in the upper half of a word and its position in the lower,
// so all items differ, and sorting them as numbers keeps equal keys in the order of their positions.
#ifndef NNL_KERNEL_SORT_H
#define NNL_KERNEL_SORT_H

#include "base/thread.h"

#include <stddef.h>
#include <stdint.h>

// From this many items on, sorting is cut into parts for the threads.
#define NNL_SORT_LONG 131072
// Words that a sort of n items needs beside them.
#define NNL_SORT_SPARE(n) ((n) + ((n) < NNL_SORT_LONG ? 0 : 32768))

// Puts n items in order, whose positions rise at the start. Returns where they are: items or spare.
uint64_t *nnl_sort_items(nnl_pool *pool, size_t n, uint64_t *items, uint64_t *spare);

// The k smallest of a stream of items.
typedef struct nnl_selection {
    size_t k, count;
    uint64_t limit; // no item above it can be among them
    uint64_t *kept, *spare;
} nnl_selection;

// Words that each of `kept` and `spare` must have room for.
#define NNL_SELECT_ROOM(k) (2 * (k) + 64)

nnl_selection nnl_select_start(size_t k, uint64_t *kept, uint64_t *spare);
void nnl_select_more(nnl_selection *s, size_t n, const uint64_t *items);

// The k smallest, in order.
const uint64_t *nnl_select_done(nnl_selection *s);

#endif
