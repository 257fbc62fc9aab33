# cifar10.py: the network and schedule of scripts/cifar10.lua in PyTorch, for comparison: the same layers, first values,
# augmentation, optimizer and learning rates. See scripts/README.md for what was found.
#
#   python3 scripts/dev/bench/cifar10.py FOLDER [--epochs N] [--batch-size N] [--lr X] [--seed N] [--threads N]
#
# FOLDER has CIFAR-10 in its binary form, *.bin or *.bin.gz; files train* or data_batch* are trained with.

import argparse
import glob
import gzip
import os
import time

import numpy
import torch
from torch import nn
from torch.nn import functional

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--lr", type=float, default=0.005)
parser.add_argument("--weight-decay", type=float, default=0.05)
parser.add_argument("--validation", type=int, default=1000)
parser.add_argument("--width", type=int, default=32)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()
torch.manual_seed(options.seed)
torch.set_num_threads(options.threads)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def read(*patterns):
    parts = []
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.join(options.folder, pattern))):
            opened = gzip.open(path) if path.endswith(".gz") else open(path, "rb")
            with opened as file:
                parts.append(numpy.frombuffer(file.read(), numpy.uint8).reshape(-1, 3073))
    records = torch.from_numpy(numpy.concatenate(parts).copy())
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).float() / 255
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std, records[:, 0].long()


def augment(x):
    """Each image flipped or not, and shifted by up to 4 pixels with zeros at the edges."""
    n = len(x)
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.5, x.flip(3), x)
    padded = functional.pad(x, (4, 4, 4, 4))
    rows, columns = torch.randint(0, 9, (n, 1)), torch.randint(0, 9, (n, 1))
    at = (rows + torch.arange(32))[:, None, :, None], (columns + torch.arange(32))[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], torch.arange(3)[None, :, None, None], at[0], at[1]]


def convolution(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.inner = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, x):
        return x + self.inner(x)


def network(w):
    return nn.Sequential(
        convolution(3, w), convolution(w, 2 * w), nn.MaxPool2d(2), Residual(2 * w),
        convolution(2 * w, 4 * w), nn.MaxPool2d(2),
        convolution(4 * w, 8 * w), nn.MaxPool2d(2), Residual(8 * w),
        nn.MaxPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * w, 10))


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        right = sum((model(x[i:i + 500]).argmax(1) == y[i:i + 500]).sum().item() for i in range(0, len(x), 500))
    model.train()
    return right / len(x)


x, y = read("data_batch*.bin", "data_batch*.bin.gz", "train*.bin", "train*.bin.gz")
x_test, y_test = read("test*.bin", "test*.bin.gz")
order = torch.randperm(len(x))
x, y = x[order], y[order]
held = options.validation
x_held, y_held, x, y = x[:held], y[:held], x[held:], y[held:]

model = network(options.width)
print(sum(parameter.numel() for parameter in model.parameters()), "parameters")
steps = (len(x) + options.batch_size - 1) // options.batch_size
optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, total_steps=steps * options.epochs + 1)
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

start, cpu = time.time(), time.process_time()
best, best_state = -1, None
for epoch in range(options.epochs):
    total = 0
    for index in torch.randperm(len(x)).split(options.batch_size):
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(model(augment(x[index])), y[index])
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(index)
    right = accuracy(model, x_held, y_held)
    if right > best:
        best, best_state = right, {name: tensor.clone() for name, tensor in model.state_dict().items()}
    print(f"epoch {epoch + 1:2}  loss {total / len(x):.4f}  val_accuracy {right:.4f}  "
          f"{time.time() - start:.0f} s, {time.process_time() - cpu:.0f} s of processor", flush=True)
model.load_state_dict(best_state)
print(f"test accuracy: {100 * accuracy(model, x_test, y_test):.2f} %")
