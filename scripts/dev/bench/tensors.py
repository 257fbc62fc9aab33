"""tensors.py: the peer of tensors.lua in PyTorch."""

import re
import sys
import time

import torch

only = sys.argv[1] if len(sys.argv) > 1 else ""
calls, warm_up = 8, 12
rows, columns = 4096, 2441

torch.manual_seed(1)

x = torch.rand(rows, columns).add_(0.1)
y = torch.rand(rows, columns).add_(0.1)
z = torch.randn(rows, columns)
w = torch.randn(4096, 1024)
v = torch.randn(4096, 1024, requires_grad=True)
short = torch.randn(131072, 32)
gain = torch.ones(1024, requires_grad=True)
shift = torch.zeros(1024, requires_grad=True)
flow, row_flow = torch.randn(4096, 1024), torch.randn(4096)


def least(call):
    for _ in range(warm_up):
        call()
    best = float("inf")
    for _ in range(calls):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best * 1e6


def case(name, call):
    if not re.search(only, name):
        return
    for threads in (1, 2):
        torch.set_num_threads(threads)
        print(f"{name}/{threads} {least(call):.1f}")


def through(start, call):
    def run():
        v.grad = gain.grad = shift.grad = None
        call().backward(start)

    return run


case("add", lambda: x + y)
case("mul", lambda: x * y)
case("mul_number", lambda: x * 2)
case("lt", lambda: x < y)
case("gt_number", lambda: x > 0.5)

functions = {
    "exp": torch.exp, "log": torch.log, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "gelu": torch.nn.functional.gelu, "relu": torch.relu, "sqrt": torch.sqrt, "erf": torch.erf,
    "silu": torch.nn.functional.silu,
}
for name, function in functions.items():
    source = x if name in ("log", "sqrt") else z
    case(name, lambda function=function, source=source: function(source))

for name in ("sum", "mean", "max", "min", "argmax", "var", "norm"):
    method = getattr(z, name)
    case(name, method)
    for dim in (0, 1):
        along = (lambda dim=dim: z.norm(2, dim)) if name == "norm" else (lambda method=method, dim=dim: method(dim))
        case(f"{name}_dim{dim + 1}", along)

for name in ("softmax", "log_softmax"):
    case(name, lambda name=name: getattr(w, name)(-1))
    case(f"{name}_rows_of_32", lambda name=name: getattr(short, name)(-1))
    case(f"{name}_dim1", lambda name=name: getattr(w, name)(0))
    case(f"{name}_backward", through(flow, lambda name=name: getattr(v, name)(-1)))

case("logsumexp", lambda: w.logsumexp(-1))
case("logsumexp_rows_of_32", lambda: short.logsumexp(-1))
case("logsumexp_backward", through(row_flow, lambda: v.logsumexp(-1)))

layer_norm = torch.nn.functional.layer_norm
case("layer_norm", lambda: layer_norm(w, (1024,), gain.detach(), shift.detach()))
case("layer_norm_backward", through(flow, lambda: layer_norm(v, (1024,), gain, shift)))
