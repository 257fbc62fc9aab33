// trial.c: recording the sizes of requests for memory, and plans made of them. See trial.h.
#include "base/trial.h"

#include <stdlib.h>

static bool grow(nnl_trial *trial) {
    size_t room = trial->room > 0 ? 2 * trial->room : 1024;
    uint64_t *more = realloc(trial->sizes, room * sizeof *more);
    if (!more) return false;
    trial->sizes = more;
    trial->room = room;
    return true;
}

uint64_t nnl_trial_next(nnl_trial *trial, size_t bytes) {
    size_t i = trial->count++;
    if (trial->plan) {
        if (i < trial->planned) return trial->plan[i];
        trial->failed = true;
        return bytes;
    }
    if (trial->failed || (i == trial->room && !grow(trial))) {
        trial->failed = true;
        return bytes;
    }
    trial->sizes[i] = bytes;
    return bytes;
}

void nnl_trial_clear(nnl_trial *trial) {
    free(trial->sizes);
    trial->sizes = NULL;
    trial->count = trial->room = 0;
}

void nnl_trial_extend(size_t count, const uint64_t *at_low, double low, const uint64_t *at_high, double high,
                      double wanted, uint64_t *plan) {
    for (size_t i = 0; i < count; i++) {
        double slope = ((double)at_high[i] - (double)at_low[i]) / (high - low);
        double size = (double)at_low[i] + slope * (wanted - low);
        plan[i] = size > 0 ? size < 9e18 ? (uint64_t)size : (uint64_t)9e18 : 0;
    }
}
