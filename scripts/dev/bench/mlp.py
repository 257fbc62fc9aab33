"""mlp.py: the peer of mlp.lua in PyTorch, on one thread, which is its best setting for a network of this size."""

import sys
import time

import torch

torch.manual_seed(1)
torch.set_num_threads(1)

rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def network():
    return torch.nn.Sequential(
        torch.nn.Linear(30, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64), torch.nn.ReLU(),
        torch.nn.Linear(64, 1), torch.nn.Sigmoid())


def least(calls, make, *arguments):
    """The least time of one call, in microseconds, with a new network in every round."""
    best = float("inf")
    for _ in range(rounds):
        call = make(*arguments)
        for _ in range(50):
            call()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - start) / calls)
    return best * 1e6


def training_step(batch, foreach):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), foreach=foreach)
    criterion = torch.nn.BCELoss()
    x = torch.randn(batch, 30)
    y = torch.randint(0, 2, (batch, 1)).float()

    def step():
        optimizer.zero_grad(set_to_none=True)
        criterion(model(x), y).backward()
        optimizer.step()

    return step


def prediction(traced):
    model = network().eval()
    x = torch.randn(1, 30)
    if traced:
        model = torch.jit.freeze(torch.jit.trace(model, x))
    return lambda: model(x)


for batch in (32, 1):
    times = [least(500, training_step, batch, foreach) for foreach in (False, True)]
    print(f"step{batch} {min(times):.3f}")
with torch.no_grad():
    print(f"predict {least(5000, prediction, False):.3f}")
    print(f"predict_traced {least(5000, prediction, True):.3f}")
