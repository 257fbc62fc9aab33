// fork.c: a server that loads a model, forks, and lets its children predict and train: none hangs, and those
// that seed otherwise draw other random numbers.
#include "host.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN 3

typedef struct report {
    double prediction, loss, draw;
} report;

static const char prepare[] =
    "nn = require 'nnlua'; nn.set_num_threads(2); nn.manual_seed(1)\n"
    "x, y = nn.randn(256, 64), nn.randn(256, 16)\n"
    "model = nn.Sequential{nn.Dense(64, 256, {activation = 'relu'}), nn.Dense(256, 16)}\n"
    "model:compile{optimizer = 'adam', loss = 'mse'}\n"
    "model:fit(x, y, {epochs = 1, verbose = 0})";

// In a child: seeds 0, 1, 2, of which the last two children share one.
static void work(lua_State *L, int child, int answer) {
    char code[256];
    report r;
    alarm(120); // a child that hangs is a failure, told by the signal it dies of
    r.prediction = host_number(L, "model:predict(x):sum():item()");
    snprintf(code, sizeof code, "nn.manual_seed(%d); draw = nn.randn(1):item()", child < 2 ? child : 1);
    host_run(L, code);
    r.draw = host_number(L, "draw");
    r.loss = host_number(L, "model:fit(x, y, {epochs = 3, verbose = 0}).loss[3]");
    CHECK(r.loss == r.loss && r.loss > 0);
    CHECK(write(answer, &r, sizeof r) == (ssize_t)sizeof r);
    lua_close(L);
}

int main(void) {
#ifdef __SANITIZE_THREAD__
    puts("The thread sanitizer does not follow a fork into new threads: skipped.");
    return 0;
#endif
    pid_t pids[CHILDREN];
    int pipes[CHILDREN][2];
    report reports[CHILDREN];
    lua_State *L = host_open();
    host_run(L, prepare); // the pool's threads run now
    double before = host_number(L, "model:predict(x):sum():item()");
    for (int i = 0; i < CHILDREN; i++) {
        CHECK(pipe(pipes[i]) == 0);
        pids[i] = fork();
        CHECK(pids[i] >= 0);
        if (pids[i] == 0) {
            work(L, i, pipes[i][1]);
            exit(0);
        }
    }
    for (int i = 0; i < CHILDREN; i++) {
        int status = 0;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        CHECK(read(pipes[i][0], &reports[i], sizeof reports[i]) == (ssize_t)sizeof reports[i]);
        CHECK(reports[i].prediction == before);
    }
    CHECK(reports[0].draw != reports[1].draw && reports[1].draw == reports[2].draw);
    CHECK(host_number(L, "model:predict(x):sum():item()") == before); // the parent goes on
    lua_close(L);
    return 0;
}
