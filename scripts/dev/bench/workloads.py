"""workloads.py NAME[,NAME...] THREADS [PRECISION] [SECONDS]: the peer of workloads.lua in PyTorch, each workload in whichever way
is fastest: Adam over each parameter or over all at once, images as they are or with channels last, transformers by
PyTorch's own layer or written out with a single projection, prediction as it is or traced."""
import math
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

names, threads = sys.argv[1].split(","), int(sys.argv[2]) if len(sys.argv) > 2 else 2
precision = sys.argv[3] if len(sys.argv) > 3 else "full"
seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 2.0
CHARACTERS = 65


def step_of(optimizer, loss_of):
    def step():
        optimizer.zero_grad(set_to_none=True)
        if precision == "mixed":
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = loss_of()
        else:
            loss = loss_of()
        loss.backward()
        optimizer.step()

    return step


def classifier(model, shape, classes, optimizer, last=False):
    x, y = torch.randn(shape), torch.randint(0, classes, (shape[0],))
    if last:
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    criterion = nn.CrossEntropyLoss()
    return step_of(optimizer(model.parameters()), lambda: criterion(model(x), y))


def adam(foreach):
    return lambda parameters: torch.optim.Adam(parameters, foreach=foreach)


def sgd(foreach):
    return lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, foreach=foreach)


# ---- multilayer perceptrons


def small():
    return nn.Sequential(
        nn.Linear(30, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid())


def w1(batch, foreach):
    model, criterion = small(), nn.BCELoss()
    x, y = torch.randn(batch, 30), torch.randint(0, 2, (batch, 1)).float()
    return step_of(adam(foreach)(model.parameters()), lambda: criterion(model(x), y))


def w1_predict(traced):
    model, x = small().eval(), torch.randn(1, 30)
    torch.set_grad_enabled(False)
    if traced:
        model = torch.jit.freeze(torch.jit.trace(model, x))
    return lambda: model(x)


def perceptron(inputs, width, outputs, batch, foreach):
    model = nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))
    return classifier(model, (batch, inputs), outputs, adam(foreach))


# ---- pictures


def w3(foreach, last):
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))
    return classifier(model, (64, 1, 28, 28), 10, adam(foreach), last)


class ResidualBlock(nn.Module):
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


def w4(foreach, last):
    layers = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inputs = 16
    for stage, outputs in enumerate((16, 32, 64)):
        for block in range(3):
            layers.append(ResidualBlock(inputs, outputs, 2 if stage > 0 and block == 0 else 1))
            inputs = outputs
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return classifier(model, (64, 3, 32, 32), 10, sgd(foreach), last)


# ---- text


def next_character(model, optimizer, batch, length):
    tokens = torch.randint(0, CHARACTERS, (batch, length))
    target, criterion = torch.randint(0, CHARACTERS, (batch * length,)), nn.CrossEntropyLoss()
    return step_of(optimizer(model.parameters()), lambda: criterion(model(tokens).reshape(-1, CHARACTERS), target))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, 256)
        self.lstm = nn.LSTM(256, 256, num_layers=2, batch_first=True)
        self.head = nn.Linear(256, CHARACTERS)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0])


class OwnBlock(nn.TransformerEncoderLayer):
    def __init__(self, width, heads):
        super().__init__(width, heads, 4 * width, 0, "gelu", norm_first=True, batch_first=True)


class WrittenBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.width, self.heads = width, heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attention(self, x, mask):
        n, t, _ = x.shape
        q, k, v = (y.view(n, t, self.heads, -1).transpose(1, 2) for y in self.project(x).split(self.width, dim=2))
        scores = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(self.width // self.heads)) + mask
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, self.width))

    def forward(self, x, mask):
        x = x + self.attention(self.norm1(x), mask)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self, block, layers, heads, width, context):
        super().__init__()
        self.tokens, self.places = nn.Embedding(CHARACTERS, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CHARACTERS, bias=False)
        self.used = torch.arange(context)
        self.mask = torch.full((context, context), float("-inf")).triu(1)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places(self.used)
        for block in self.blocks:
            x = block(x, self.mask)
        return self.head(self.norm(x))


def gpt(block, layers, heads, width, context, batch):
    model = GPT(block, layers, heads, width, context)
    return next_character(
        model, lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, foreach=True), batch, context)


# ---- measuring

each = (False, True)
workloads = {
    "w1": [lambda foreach=f: w1(32, foreach) for f in each],
    "w1_batch1": [lambda foreach=f: w1(1, foreach) for f in each],
    "w1_predict": [lambda traced=t: w1_predict(traced) for t in each],
    "w2": [lambda foreach=f: perceptron(784, 512, 10, 128, foreach) for f in each],
    "w3": [lambda foreach=f, last=c: w3(foreach, last) for f in each for c in each],
    "w4": [lambda foreach=f, last=c: w4(foreach, last) for f in each for c in each],
    "w5": [lambda foreach=f: next_character(Recurrent(), adam(foreach), 32, 64) for f in each],
    "w6s": [lambda block=b: gpt(block, 4, 4, 128, 64, 12) for b in (OwnBlock, WrittenBlock)],
    "w6": [lambda block=b: gpt(block, 6, 6, 384, 256, 8) for b in (OwnBlock, WrittenBlock)],
}


def ways_of(name):
    if not name.startswith("mlp_"):
        return workloads[name]
    batch, width = (int(part) for part in name.split("_")[1:])
    return [lambda foreach=f: perceptron(width, width, 10, batch, foreach) for f in each]


def least(make, share):
    """The least time of one call in microseconds, with a new network in every round."""
    best, rounds, begin = math.inf, 4, time.perf_counter()
    for _ in range(rounds):
        call = make()
        for _ in range(2):
            call()
        start, calls = time.perf_counter(), 0
        while True:
            before = time.perf_counter()
            for _ in range(3):
                call()
            best, calls = min(best, (time.perf_counter() - before) / 3), calls + 3
            if time.perf_counter() - start > share / rounds or calls > 3000:
                break
        if time.perf_counter() - begin > share:
            break
    return best * 1e6


torch.manual_seed(1)
torch.set_num_threads(threads)
for name in names:
    ways = ways_of(name)
    fastest = min(least(make, seconds / len(ways)) for make in ways)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{name} {threads} {precision} {fastest:.2f} {peak}")
