"""lstm.py: the peer of lstm.lua in PyTorch."""

import time

import torch

rounds = 4
torch.manual_seed(1)

VOCABULARY, WIDTH, LENGTH, BATCH = 65, 256, 64, 32


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.lstm = torch.nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.head = torch.nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0])


def least(calls, make, *arguments):
    """The least time of one call, in microseconds, with a new network in every round."""
    best = float("inf")
    for _ in range(rounds):
        call = make(*arguments)
        for _ in range(2):
            call()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - start) / calls)
    return best * 1e6


def training_step(foreach):
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), foreach=foreach)
    criterion = torch.nn.CrossEntropyLoss()
    tokens = torch.randint(0, VOCABULARY, (BATCH, LENGTH))
    targets = torch.randint(0, VOCABULARY, (BATCH * LENGTH,))

    def step():
        optimizer.zero_grad(set_to_none=True)
        criterion(model(tokens).view(-1, VOCABULARY), targets).backward()
        optimizer.step()

    return step


def prediction():
    model = Net().eval()
    tokens = torch.randint(0, VOCABULARY, (BATCH, LENGTH))
    return lambda: model(tokens)


for threads in (1, 2):
    torch.set_num_threads(threads)
    print(f"step/{threads} {min(least(5, training_step, foreach) for foreach in (False, True)):.1f}")
    with torch.no_grad():
        print(f"predict/{threads} {least(10, prediction):.1f}")
