"""small.py: the time of one PyTorch operation on 100 elements, in microseconds. Beside small.lua."""
import time

import torch

COUNT, ROUNDS = 50000, 3

torch.set_num_threads(1)
a, b = torch.randn(100), torch.randn(100)


def add():
    for _ in range(COUNT):
        a + b


def scale():
    for _ in range(COUNT):
        a * 2


def total():
    for _ in range(COUNT):
        a.sum()


def read():
    for i in range(COUNT):
        a[i % 100].item()


def write():
    for i in range(COUNT):
        a[i % 100] = 0.5


def add_in_place():
    for _ in range(COUNT):
        a.add_(b)


def exp():
    for _ in range(COUNT):
        b.exp()


def reshape():
    for _ in range(COUNT):
        b.reshape(10, 10)


WORKLOADS = [
    ("a+b", add), ("a*2", scale), ("a:sum()", total), ("a[i]", read), ("a[i]=x", write),
    ("a:add_(b)", add_in_place), ("a:exp()", exp), ("a:reshape(10,10)", reshape),
]


def least(run):
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best / COUNT * 1e6


for name, run in WORKLOADS:
    print(f"{name} {least(run):.4f}")
