"""mnist.py: the peer of mnist.lua in PyTorch: batches gathered by a permutation from tensors in memory, Adam over each
parameter or over all at once, whichever is faster. A line "loader" tells what a DataLoader costs instead."""
import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

IMAGES, EPOCHS, BATCH = 60000, 3, 128

torch.manual_seed(1)
images, labels = torch.rand(IMAGES, 784), torch.randint(0, 10, (IMAGES,))


def network():
    return nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Dropout(0.2), nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(512, 10))


def by_permutation():
    order = torch.randperm(IMAGES)
    for start in range(0, IMAGES, BATCH):
        chosen = order[start:start + BATCH]
        yield images[chosen], labels[chosen]


def by_loader():
    return DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True)


def epochs(batches, foreach, count):
    """The least time of an epoch, in microseconds."""
    model, criterion = network(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), foreach=foreach)
    best = float("inf")
    for _ in range(count):
        start = time.perf_counter()
        total, right = 0.0, 0
        for x, y in batches():
            optimizer.zero_grad(set_to_none=True)
            out = model(x)
            loss = criterion(out, y)
            loss.backward()
            optimizer.step()
            total += loss.item()
            right += (out.argmax(1) == y).sum().item()
        best = min(best, time.perf_counter() - start)
    return best * 1e6


pattern = sys.argv[1] if len(sys.argv) > 1 else ""
for threads in (2, 1):
    torch.set_num_threads(threads)
    if pattern in f"epoch/{threads}":
        print(f"epoch/{threads} {min(epochs(by_permutation, foreach, EPOCHS) for foreach in (False, True)):.0f}")
        if threads == 2:
            print(f"loader/{threads} {epochs(by_loader, False, 1):.0f}")
