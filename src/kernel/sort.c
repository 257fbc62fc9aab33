// sort.c: short arrays by merging without branches, longer ones by radix: passes over 11 bits of the key from
// the lowest on, each of which keeps the order of the pass before. Passes over bits that are all the same are
// left out.
#include "kernel/sort.h"

#include <stdbool.h>
#include <string.h>

#define KEY_SHIFT 32
#define DIGIT_BITS 11
#define DIGITS (1u << DIGIT_BITS)
#define PASSES 3
#define MERGE_MOST 320 // the longest array that merging is quicker for
#define RUN 8
#define MOST_PARTS 32

// ---- merging

static void sort_rest(size_t n, uint64_t *x) {
    for (size_t i = 1; i < n; i++) {
        uint64_t item = x[i];
        size_t j = i;
        for (; j > 0 && x[j - 1] > item; j--) x[j] = x[j - 1];
        x[j] = item;
    }
}

static inline void order_two(uint64_t *x, int i, int j) {
    uint64_t a = x[i], b = x[j];
    bool wrong = b < a;
    x[i] = wrong ? b : a;
    x[j] = wrong ? a : b;
}

// Eight by a network of comparisons (Batcher 1968: odd-even merging).
static void sort_run(uint64_t *x) {
    static const uint8_t network[][2] = {{0, 1}, {2, 3}, {4, 5}, {6, 7}, {0, 2}, {1, 3}, {4, 6},
                                         {5, 7}, {1, 2}, {5, 6}, {0, 4}, {1, 5}, {2, 6}, {3, 7},
                                         {2, 4}, {3, 5}, {1, 2}, {3, 4}, {5, 6}};
    for (size_t i = 0; i < sizeof network / sizeof *network; i++) order_two(x, network[i][0], network[i][1]);
}

// Two runs of one length, from both ends at once: neither can be used up before the middle.
static void merge_equal(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n) {
    const uint64_t *last_a = a + n - 1, *last_b = b + n - 1;
    uint64_t *last = out + 2 * n - 1;
    for (size_t i = 0; i < n; i++) {
        uint64_t x = *a, y = *b, last_x = *last_a, last_y = *last_b;
        bool second = y < x, first = last_y < last_x;
        *out++ = second ? y : x;
        *last-- = first ? last_x : last_y;
        a += !second;
        b += second;
        last_a -= first;
        last_b -= !first;
    }
}

static void merge(uint64_t *out, const uint64_t *a, size_t na, const uint64_t *b, size_t nb) {
    const uint64_t *end_a = a + na, *end_b = b + nb;
    while (a < end_a && b < end_b) {
        uint64_t x = *a, y = *b;
        bool second = y < x;
        *out++ = second ? y : x;
        a += !second;
        b += second;
    }
    memcpy(out, a, (size_t)(end_a - a) * sizeof *a);
    memcpy(out + (end_a - a), b, (size_t)(end_b - b) * sizeof *b);
}

static void merge_pairs(size_t n, size_t width, uint64_t *to, const uint64_t *from) {
    for (size_t i = 0; i < n; i += 2 * width) {
        size_t left = n - i < width ? n - i : width, rest = n - i - left;
        if (rest >= width) {
            merge_equal(to + i, from + i, from + i + width, width);
        } else {
            merge(to + i, from + i, left, from + i + left, rest);
        }
    }
}

static uint64_t *merge_sort(size_t n, uint64_t *items, uint64_t *spare) {
    uint64_t *from = items, *to = spare;
    size_t i = 0;
    for (; i + RUN <= n; i += RUN) sort_run(items + i);
    sort_rest(n - i, items + i);
    for (size_t width = RUN; width < n; width *= 2) {
        merge_pairs(n, width, to, from);
        uint64_t *done = to;
        to = from;
        from = done;
    }
    return from;
}

// ---- radix

static unsigned digit_of(uint64_t item, int pass) {
    return (unsigned)(item >> (KEY_SHIFT + pass * DIGIT_BITS)) & (DIGITS - 1);
}

static void scatter(size_t n, uint64_t *to, const uint64_t *from, int pass, uint32_t *place) {
    for (size_t i = 0; i < n; i++) to[place[digit_of(from[i], pass)]++] = from[i];
}

// Counts become places: how many come before. False where one digit has all of them.
static bool counts_to_places(size_t n, uint32_t *count) {
    uint32_t before = 0;
    for (size_t d = 0; d < DIGITS; d++) {
        uint32_t own = count[d];
        if (own == n) return false;
        count[d] = before;
        before += own;
    }
    return true;
}

static uint64_t *radix_sort(size_t n, uint64_t *items, uint64_t *spare) {
    uint32_t count[PASSES][DIGITS];
    uint64_t *from = items, *to = spare;
    memset(count, 0, sizeof count);
    for (size_t i = 0; i < n; i++) {
        for (int pass = 0; pass < PASSES; pass++) count[pass][digit_of(items[i], pass)]++;
    }
    for (int pass = 0; pass < PASSES; pass++) {
        if (!counts_to_places(n, count[pass])) continue;
        scatter(n, to, from, pass, count[pass]);
        uint64_t *done = to;
        to = from;
        from = done;
    }
    return from;
}

// ---- radix in parts: each counts its own digits, and writes its items behind those of the parts before it

typedef struct long_sort {
    size_t n, step;
    int pass;
    uint64_t *from, *to;
    uint32_t (*count)[DIGITS]; // for each part
} long_sort;

static size_t part_length(const long_sort *s, size_t part) {
    size_t rest = s->n - part * s->step;
    return rest < s->step ? rest : s->step;
}

static void count_part(void *arg, size_t part) {
    const long_sort *s = arg;
    const uint64_t *x = s->from + part * s->step;
    uint32_t *count = s->count[part];
    memset(count, 0, sizeof *s->count);
    for (size_t i = 0, n = part_length(s, part); i < n; i++) count[digit_of(x[i], s->pass)]++;
}

static void scatter_part(void *arg, size_t part) {
    const long_sort *s = arg;
    scatter(part_length(s, part), s->to, s->from + part * s->step, s->pass, s->count[part]);
}

static bool part_counts_to_places(const long_sort *s, size_t parts) {
    uint32_t before = 0;
    for (size_t d = 0; d < DIGITS; d++) {
        uint32_t first = before;
        for (size_t part = 0; part < parts; part++) {
            uint32_t own = s->count[part][d];
            s->count[part][d] = before;
            before += own;
        }
        if (before - first == s->n) return false;
    }
    return true;
}

static uint64_t *long_radix_sort(nnl_pool *pool, size_t n, uint64_t *items, uint64_t *spare) {
    long_sort s = {.n = n, .step = (n + MOST_PARTS - 1) / MOST_PARTS, .from = items, .to = spare};
    if (s.step < NNL_SORT_LONG / 2) s.step = NNL_SORT_LONG / 2;
    size_t parts = (n + s.step - 1) / s.step;
    s.count = (uint32_t(*)[DIGITS])(void *)(spare + n);
    for (s.pass = 0; s.pass < PASSES; s.pass++) {
        nnl_pool_try(pool, parts, count_part, &s);
        if (nnl_pool_stops(pool)) return NULL; // counts are places
        if (!part_counts_to_places(&s, parts)) continue;
        nnl_pool_try(pool, parts, scatter_part, &s);
        if (nnl_pool_stops(pool)) return NULL; // items hold places
        uint64_t *done = s.to;
        s.to = s.from;
        s.from = done;
    }
    return s.from;
}

static uint64_t *short_sort(size_t n, uint64_t *items, uint64_t *spare) {
    return n <= MERGE_MOST ? merge_sort(n, items, spare) : radix_sort(n, items, spare);
}

uint64_t *nnl_sort_items(nnl_pool *pool, size_t n, uint64_t *items, uint64_t *spare) {
    return n < NNL_SORT_LONG ? short_sort(n, items, spare) : long_radix_sort(pool, n, items, spare);
}

// ---- the smallest: those below the k-th smallest so far are gathered, and cut down to k when there is no
// room

nnl_selection nnl_select_start(size_t k, uint64_t *kept, uint64_t *spare) {
    return (nnl_selection){.k = k, .limit = UINT64_MAX, .kept = kept, .spare = spare};
}

static void cut_down(nnl_selection *s) {
    uint64_t *sorted = short_sort(s->count, s->kept, s->spare);
    if (sorted != s->kept) {
        s->spare = s->kept;
        s->kept = sorted;
    }
    if (s->count < s->k) return;
    s->count = s->k;
    s->limit = s->kept[s->k - 1];
}

void nnl_select_more(nnl_selection *s, size_t n, const uint64_t *items) {
    for (size_t i = 0; i < n; i++) {
        if (items[i] > s->limit) continue;
        if (s->count == NNL_SELECT_ROOM(s->k)) cut_down(s);
        s->kept[s->count++] = items[i];
    }
}

const uint64_t *nnl_select_done(nnl_selection *s) {
    cut_down(s);
    return s->kept;
}
