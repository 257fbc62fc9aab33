# The same predictions over HTTP by PyTorch: server.py PORT WORKERS. As fast as we could make one in Python: processes
# with one thread each that share the port, an event loop (uvloop where it is installed), no framework between the socket
# and the model, connections that stay open, and a traced and frozen model.
import asyncio
import os
import signal
import socket
import sys

import torch

try:
    import uvloop

    uvloop.install()
except ImportError:
    pass


def load_model():
    torch.manual_seed(1)
    layers = [torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(512, 10), torch.nn.Softmax(dim=-1)).eval()
    return torch.jit.optimize_for_inference(torch.jit.trace(model, torch.zeros(1, 784)))


def answer(model, body):
    if not body or len(body) % 784:
        return 400, b"expected pictures of 784 bytes each\n"
    x = torch.frombuffer(body, dtype=torch.uint8).reshape(-1, 784).float() / 255
    rows = model(x).tolist()
    return 200, "".join(" ".join("%.4f" % p for p in row) + "\n" for row in rows).encode()


class Connection(asyncio.Protocol):
    def __init__(self, model):
        self.model, self.received = model, bytearray()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        while True:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.received[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.received) < end + 4 + length:
                return
            body = self.received[end + 4 : end + 4 + length]
            del self.received[: end + 4 + length]
            status, text = answer(self.model, body)
            reason = b"OK" if status == 200 else b"Bad Request"
            self.transport.write(b"HTTP/1.1 %d %s\r\nContent-Length: %d\r\n\r\n%s" % (status, reason, len(text), text))


async def serve(port):
    model = load_model()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    server = await asyncio.get_running_loop().create_server(lambda: Connection(model), sock=listener)
    await server.serve_forever()


def work(port):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    with torch.inference_mode():
        asyncio.run(serve(port))


if __name__ == "__main__":
    port, workers = int(sys.argv[1]), int(sys.argv[2])
    children = []
    for _ in range(workers):
        child = os.fork()
        if child == 0:
            work(port)
            os._exit(0)
        children.append(child)

    def stop(*_):
        for child in children:
            os.kill(child, signal.SIGTERM)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.pause()
