"""gpt.py: the peer of gpt.lua in PyTorch: the better of its own layers and of one written out with a single
projection for query, key and value, with AdamW over all parameters at once."""
import math
import time

import torch
from torch import nn
from torch.nn import functional as F

LAYERS, WIDTH, HEADS, CONTEXT, BATCH, VOCABULARY = 4, 128, 4, 64, 12, 65
STEPS, ROUNDS = 10, 5


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def attention(self, x, mask):
        n, t, _ = x.shape
        q, k, v = (y.view(n, t, HEADS, -1).transpose(1, 2) for y in self.project(x).split(WIDTH, dim=2))
        scores = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(WIDTH // HEADS)) + mask
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, WIDTH))

    def forward(self, x, mask):
        x = x + self.attention(self.norm1(x), mask)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Own(nn.TransformerEncoderLayer):
    def __init__(self):
        super().__init__(WIDTH, HEADS, 4 * WIDTH, 0, "gelu", norm_first=True, batch_first=True)

    def forward(self, x, mask):
        return super().forward(x, mask)


class GPT(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens, places, mask):
        x = self.tokens(tokens) + self.places(places)
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm(x))


def training_step(block):
    model = GPT(block)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=True)
    criterion = nn.CrossEntropyLoss()
    tokens = torch.randint(0, VOCABULARY, (BATCH, CONTEXT))
    target = torch.randint(0, VOCABULARY, (BATCH * CONTEXT,))
    places = torch.arange(CONTEXT)
    mask = torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1)

    def step():
        optimizer.zero_grad(set_to_none=True)
        criterion(model(tokens, places, mask).view(-1, VOCABULARY), target).backward()
        optimizer.step()

    return step


def least(threads, block):
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    step, best = training_step(block), math.inf
    for _ in range(3):
        step()
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        best = min(best, time.perf_counter() - start)
    return best / STEPS * 1e6


for threads in (2, 1):
    print(f"gpt/{threads}\t{min(least(threads, Block), least(threads, Own)):.1f}")
