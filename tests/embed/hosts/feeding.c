// feeding.c: a loader's threads are at work when the host forks, or closes the state, in the middle of a
// loop: the children go on with the same batches, or leave at once, and nothing hangs, leaks or is used after
// its end.
#include "host.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 60

// Two threads, which are always ahead of the loop; each batch gives a number that tells it from others.
static const char prepare[] =
    "nn = require 'nnlua' nn.set_num_threads(2) nn.manual_seed(1)\n"
    "local pictures = nn.randint(0, 256, {200, 3, 24, 24}, {dtype = 'uint8'})\n"
    "local steps = nn.image.compose{nn.image.random_crop(16, 2), nn.image.random_flip(), "
    "nn.image.random_rotation(20), nn.image.normalize(0.5, 0.2)}\n"
    "loader = nn.data.DataLoader(nn.data.TensorDataset(pictures, nn.range(1, 200)),\n"
    "  {batch_size = 8, shuffle = true, transform = steps, workers = 2, prefetch = 3})\n"
    "function start() next_batch = loader:batches() end\n"
    "function take(count) local sum = 0 for _ = 1, count do\n"
    "  local x, y = next_batch() sum = sum + x:sum():item() + y:sum():item() end return sum end\n"
    "function rest() local sum = 0 for x, y in next_batch do sum = sum + x:sum():item() + y:sum():item() "
    "end\n"
    "  return sum end\n"
    "start()";

// In a child: what is left of the loop, and another from the start, or the end of the state at once.
static double work(lua_State *L, int child) {
    double sum = 0;
    if (child < 2) {
        sum = host_number(L, "rest()");
        host_run(L, "start() take(3)");
    }
    lua_close(L);
    return sum;
}

// What the threads had at the fork is given up in the child, of which leak checkers need not hear.
static void leave(void) {
    execlp("true", "true", (char *)NULL);
    _exit(0);
}

static void fork_in_a_loop(void) {
#ifdef __SANITIZE_THREAD__
    puts("The thread sanitizer does not follow a fork into new threads: left out.");
#else
    lua_State *L = host_open();
    int pipes[3][2];
    pid_t pids[3];
    double sums[3];
    host_run(L, prepare);
    host_number(L, "take(5)");
    for (int i = 0; i < 3; i++) {
        CHECK(pipe(pipes[i]) == 0);
        pids[i] = fork();
        CHECK(pids[i] >= 0);
        if (pids[i] == 0) {
            alarm(120); // a child that hangs is a failure, told by the signal it dies of
            double sum = work(L, i);
            CHECK(write(pipes[i][1], &sum, sizeof sum) == (ssize_t)sizeof sum);
            leave();
        }
    }
    double expected = host_number(L, "rest()"); // the parent's own threads go on
    for (int i = 0; i < 3; i++) {
        int status = 0;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        CHECK(read(pipes[i][0], &sums[i], sizeof sums[i]) == (ssize_t)sizeof sums[i]);
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
    CHECK(expected != 0 && sums[0] == expected && sums[1] == expected && sums[2] == 0);
    lua_close(L);
#endif
}

// After 0, 1, 2, ... batches; sometimes with two loops at once, sometimes in a coroutine that never comes
// back.
static void close_in_a_loop(int round) {
    char code[256];
    lua_State *L = host_open();
    host_run(L, prepare);
    snprintf(code, sizeof code, "take(%d) if %d == 0 then first = next_batch start() take(1) end", round % 7,
             round % 3);
    host_run(L, code);
    if (round % 2) {
        host_run(
            L, "thread = coroutine.wrap(function() for x in loader:batches() do coroutine.yield(x) end end)\n"
               "kept = thread() thread()");
    }
    lua_close(L);
}

// In the middle of an epoch of fit, from a callback by way of a coroutine.
static void close_in_training(void) {
    lua_State *L = host_open();
    host_run(L, prepare);
    host_run(L, "local model = nn.Sequential{nn.Flatten(), nn.Dense(3 * 16 * 16, 1)}\n"
                "model:compile{optimizer = 'adam', loss = 'mse'}\n"
                "local seen = 0\n"
                "local stop = {on_batch_end = function() seen = seen + 1 if seen == 4 then coroutine.yield() "
                "end end}\n"
                "training = coroutine.create(function()\n"
                "  model:fit(loader, {epochs = 2, verbose = 0, callbacks = {stop}}) end)\n"
                "local ok, message = coroutine.resume(training)\n"
                "assert(ok, message) assert(coroutine.status(training) == 'suspended' and seen == 4)");
    lua_close(L);
}

int main(void) {
    alarm(600);
    fork_in_a_loop();
    for (int i = 0; i < (host_is_watched() ? ROUNDS / 4 : ROUNDS); i++) close_in_a_loop(i);
    close_in_training();
    return 0;
}
