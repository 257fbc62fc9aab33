"""cnn.py: the peer of cnn.lua in PyTorch."""

import re
import sys
import time

import torch
from torch import nn

only = sys.argv[1] if len(sys.argv) > 1 else ""
steps = 10
batch = 64


def w3():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.norm1(self.conv1(x)).relu()
        y = self.norm2(self.conv2(y))
        return (y + (self.shortcut(x) if self.shortcut else x)).relu()


def w4():
    layers = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inputs = 16
    for stage, outputs in enumerate((16, 32, 64)):
        for block in range(3):
            layers.append(Block(inputs, outputs, 2 if stage > 0 and block == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


networks = [
    ("w3", w3, (batch, 1, 28, 28), lambda p: torch.optim.Adam(p)),
    ("w4", w4, (batch, 3, 32, 32), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
]


def training_step(make, shape, optimizer_of):
    model = make()
    optimizer, criterion = optimizer_of(model.parameters()), nn.CrossEntropyLoss()
    x, y = torch.randn(shape), torch.randint(0, 10, (batch,))

    def step():
        optimizer.zero_grad(set_to_none=True)
        criterion(model(x), y).backward()
        optimizer.step()

    return step


def least(call):
    for _ in range(3):
        call()
    best = float("inf")
    for _ in range(steps):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best * 1e6


torch.manual_seed(1)
for name, make, shape, optimizer_of in networks:
    for threads in (1, 2):
        if not only or re.search(only, f"{name}/{threads}"):
            torch.set_num_threads(threads)
            print(f"{name}/{threads} {least(training_step(make, shape, optimizer_of)):.1f} 0")
