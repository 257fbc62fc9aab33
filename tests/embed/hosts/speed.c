// speed.c: opening the library takes milliseconds, and one prediction of a small model microseconds. The best
// of many counts, and the bounds are wide: a machine that is busy with something else is no failure.
#include "host.h"

#include <time.h>

#define OPENING 0.010
#define PREDICTION 100e-6

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double time_opening(void) {
    double start = seconds();
    lua_State *L = host_open();
    double taken = seconds() - start;
    lua_close(L);
    return taken;
}

static double time_prediction(lua_State *L) {
    static const int64_t in_shape[2] = {1, 16}, out_shape[2] = {1, 4};
    float in[16] = {0}, out[4];
    nnlua_array input = nnlua_array_of(in, NNLUA_FLOAT32, 2, in_shape);
    nnlua_array output = nnlua_array_of(out, NNLUA_FLOAT32, 2, out_shape);
    double start = seconds();
    for (int i = 0; i < 100; i++) MUST(L, nnlua_predict_into(L, -1, &input, &output));
    return (seconds() - start) / 100;
}

int main(void) {
    double opening = 1, prediction = 1;
    for (int i = 0; i < 20; i++) {
        double taken = time_opening();
        if (taken < opening) opening = taken;
    }
    lua_State *L = host_open();
    const char *model = "local nn = require 'nnlua'\n"
                        "return nn.Sequential{nn.Dense(16, 32, {activation = 'relu'}), nn.Dense(32, 4)}";
    MUST(L, nnlua_run_string(L, model, strlen(model), "=model", 0, 1));
    for (int i = 0; i < 50; i++) {
        double taken = time_prediction(L);
        if (taken < prediction) prediction = taken;
    }
    lua_close(L);
    printf("opening: %.2f ms, a prediction: %.1f us\n", 1e3 * opening, 1e6 * prediction);
    return !host_is_watched() && (opening > OPENING || prediction > PREDICTION);
}
