"""gpt.py TEXT [STEPS [EVERY [THREADS]]]: the peer of scripts/gpt.lua in PyTorch, with its defaults: a transformer of 4 layers of 128
without biases, whose head is the embedding, on 12 rows of 64 characters; AdamW with decay of matrices alone, warm-up and
cosine, gradients clipped to a norm of 1. Prints the time of a step after every so many, and the loss of those."""
import math
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

steps = int(sys.argv[2]) if len(sys.argv) > 2 else 300
every = int(sys.argv[3]) if len(sys.argv) > 3 else 100
LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
RATE, WARM_UP = 3e-3, 100

torch.set_num_threads(int(sys.argv[4]) if len(sys.argv) > 4 else 2)
torch.manual_seed(1)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return F.layer_norm(x, (WIDTH,), self.weight)


class Linear(nn.Linear):
    """Over rows: PyTorch 1.13 multiplies more slowly in three dimensions, where there is no bias."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x):
        return F.linear(x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = Norm(), Norm()
        self.project, self.out = Linear(WIDTH, 3 * WIDTH), Linear(WIDTH, WIDTH)
        self.up, self.down = Linear(WIDTH, 4 * WIDTH), Linear(4 * WIDTH, WIDTH)

    def attention(self, x, mask):
        n, t, _ = x.shape
        q, k, v = (y.view(n, t, HEADS, -1).transpose(1, 2) for y in self.project(x).split(WIDTH, dim=2))
        scores = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(WIDTH // HEADS)) + mask
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, WIDTH))

    def forward(self, x, mask):
        x = x + self.attention(self.norm1(x), mask)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self, characters):
        super().__init__()
        self.tokens, self.places = nn.Embedding(characters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks, self.norm = nn.ModuleList(Block() for _ in range(LAYERS)), Norm()
        self.mask = torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * LAYERS) if "out" in name or "down" in name else 0.02)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places.weight
        for block in self.blocks:
            x = block(x, self.mask)
        return F.linear(self.norm(x).view(-1, WIDTH), self.tokens.weight)


with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read()
characters = sorted(set(text))
number = {c: i for i, c in enumerate(characters)}
ids = torch.tensor([number[c] for c in text])
train = ids[: int(0.9 * len(ids))]

model = GPT(len(characters))
matrices = [p for p in model.parameters() if p.dim() == 2]
vectors = [p for p in model.parameters() if p.dim() < 2]
groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99), foreach=True)
window = torch.arange(CONTEXT + 1)


def batch():
    rows = train[torch.randint(len(train) - CONTEXT, (BATCH, 1)) + window]
    return rows[:, :-1], rows[:, 1:]


def rate(step):
    if step < WARM_UP:
        return RATE * (step + 1) / WARM_UP
    done = min(1, (step - WARM_UP) / max(1, steps - WARM_UP))
    return RATE / 10 + RATE * 0.9 * 0.5 * (1 + math.cos(math.pi * done))


total, start = 0.0, time.perf_counter()
for step in range(1, steps + 1):
    for group in optimizer.param_groups:
        group["lr"] = rate(step - 1)
    x, y = batch()
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(model(x), y.reshape(-1))
    loss.backward()
    total += loss.item()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % every == 0:
        taken = (time.perf_counter() - start) / every
        print(f"step {step}: loss {total / every:.4f}; {1000 * taken:.1f} ms a step, "
              f"{BATCH * CONTEXT / taken:.0f} tokens per second", flush=True)
        total, start = 0.0, time.perf_counter()
