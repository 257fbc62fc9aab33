// threads.c: two states on two threads, each with a model from the same file. The weights lie in memory once:
// both map the file, and predicting writes none of its pages.
#include "host.h"

#include <pthread.h>

#define FEATURES 512
#define CALLS 50

typedef struct worker {
    const char *path;
    float output[4][FEATURES];
    long mapped,
        written; // kilobytes of the file that are mapped, and of those, copied for having been written
} worker;

// What /proc/self/smaps tells of the mappings of a file.
static void measure(worker *w) {
    char line[512];
    int ours = 0;
    FILE *maps = fopen("/proc/self/smaps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' ')) ours = strstr(line, w->path) != NULL;
        if (ours && strncmp(line, "Size:", 5) == 0) w->mapped += strtol(line + 5, NULL, 10);
        if (ours && strncmp(line, "Private_Dirty:", 14) == 0) w->written += strtol(line + 14, NULL, 10);
    }
    if (maps) fclose(maps);
}

static void *work(void *arg) {
    worker *w = arg;
    static const int64_t shape[2] = {4, FEATURES};
    float input[4][FEATURES];
    for (int i = 0; i < 4 * FEATURES; i++) input[i / FEATURES][i % FEATURES] = (float)(i % 7) - 3;
    nnlua_array in = nnlua_array_of(input, NNLUA_FLOAT32, 2, shape);
    nnlua_array out = nnlua_array_of(w->output, NNLUA_FLOAT32, 2, shape);
    lua_State *L = host_open();
    MUST(L, nnlua_load(L, w->path));
    for (int i = 0; i < CALLS; i++) MUST(L, nnlua_predict_into(L, -1, &in, &out));
    measure(w);
    // Training gives this state weights of its own, and the other one none.
    host_run(L, "local nn = require 'nnlua'; local x = nn.randn(8, 512); for i = 1, 3 do\n"
                "local y = nn.Dense(512, 512)(x):sum(); y:backward() end");
    lua_close(L);
    return NULL;
}

int main(void) {
    static worker workers[2];
    char path[] = "/tmp/nnlua_threads_XXXXXX";
    pthread_t threads[2];
    int file = mkstemp(path);
    CHECK(file >= 0);
    lua_State *L = host_open();
    lua_pushstring(L, path);
    lua_setglobal(L, "path");
    host_run(L, "local nn = require 'nnlua'; local d = nn.Dense\n"
                "assert(nn.Sequential{d(512, 512, {activation = 'relu'}), d(512, 512)}:save(path))");
    lua_close(L);
    for (int i = 0; i < 2; i++) {
        workers[i].path = path;
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    remove(path);
    printf("%ld and %ld KB of the file mapped, %ld and %ld written\n", workers[0].mapped, workers[1].mapped,
           workers[0].written, workers[1].written);
    CHECK(memcmp(workers[0].output, workers[1].output, sizeof workers[0].output) == 0);
    CHECK(workers[0].mapped + workers[1].mapped > FEATURES * FEATURES * 4 / 1024);
    CHECK(workers[0].written == 0 && workers[1].written == 0);
    return 0;
}
