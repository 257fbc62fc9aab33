// cycles.c: opening and closing states ten thousand times, some of them in the middle of training, leaks
// nothing: the process does not grow.
//
//   cycles [HOW OFTEN]
#include "host.h"

// What is alive when the state closes: a graph not walked back, an optimizer with state, a hook, a generator
// in the middle of its batches, a coroutine inside of training.
static const char busy[] =
    "nn = require 'nnlua'\n"
    "model = nn.Sequential{nn.Dense(3, 4, {activation = 'tanh'}), nn.Dense(4, 1)}\n"
    "optimizer = nn.optim.Adam(model:parameters(), {lr = 0.1})\n"
    "x, y = nn.ones(6, 3), nn.ones(6, 1)\n"
    "loss = nn.MSELoss()(model(x), y); loss:backward(); optimizer:step()\n"
    "out = model(x); out:register_hook(function(g) return g * 2 end); loss = (out - y):pow(2):mean()\n"
    "batches = nn.data.DataLoader(nn.data.TensorDataset(x, y), {batch_size = 2}):batches(); batches()\n"
    "inside = coroutine.create(function() for i = 1, 9 do\n"
    "  local l = model(x):sum(); coroutine.yield(); l:backward() end end)\n"
    "coroutine.resume(inside)";

static void cycle(int i) {
    lua_State *L = host_open();
    if (i % 10 == 0) host_run(L, busy);
    lua_close(L);
}

int main(int argc, char **argv) {
    int count = host_is_watched() ? 300 : 10000;
    if (argc > 1) count = atoi(argv[1]);
    int warm = count / 10;
    for (int i = 0; i < warm; i++) cycle(i);
    long before = host_kilobytes("VmRSS:");
    for (int i = 0; i < count - warm; i++) cycle(i);
    long growth = host_kilobytes("VmRSS:") - before;
    if (growth < 1024 || host_is_watched()) return 0;
    fprintf(stderr, "%ld KB more after %d cycles than after %d\n", growth, count, warm);
    return 1;
}
