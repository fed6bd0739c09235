#!/usr/bin/env python3
"""PyTorch on the same GPU: a peer for `quadslide bench --device cuda` (scripts/gpu-check runs it).

The network of pytorch_unet.py, channels_last, AMP in bf16 (or --precision f32), by
  eager    as PyTorch runs it, cudnn.benchmark on
  compile  torch.compile, mode max-autotune without its own graphs
  graph    the eager step captured as one CUDA graph
and for each: `student` (forward, CE + Dice, backward, SGD, moving average of a teacher: what
`quadslide bench` times), `two-network` (cross pseudo supervision: two networks, each with CE + Dice on
the labelled half and CE against the other's argmax on the other half), and `infer`.

One JSON line a measurement: median seconds of a step, patches a second, the device. What a PyTorch is
too old for, or cannot do here, is a line with `skipped` and why. --device cpu is for trying the
program: eager alone, tiny sizes.
"""
import argparse
import contextlib
import json
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError as problem:
    print(json.dumps({"bench": "peer", "peer": "pytorch", "skipped": str(problem)}))
    sys.exit(0)

from pytorch_unet import UNet

WAYS = ("eager", "compile", "graph")
WHATS = ("student", "two-network", "infer")


def dice(z, y):
    p = z.float().softmax(1)
    t = F.one_hot(y, num_classes=p.shape[1]).permute(0, 3, 1, 2).to(p.dtype)
    inter, total = (p * t).sum((0, 2, 3)), (p + t).sum((0, 2, 3))
    return 1 - ((2 * inter + 1e-5) / (total + 1e-5)).mean()


def supervised(z, y):
    return F.cross_entropy(z.float(), y) + dice(z, y)


class Work:
    """Networks, data and one step of a kind, on one device. A step gives nothing back and reads its
    batch from fixed tensors, so that it can be captured."""

    def __init__(self, args, what):
        self.args, self.what = args, what
        self.device = torch.device(args.device)
        torch.manual_seed(1)
        self.nets = [self.place(UNet(width=args.width)) for _ in range(2 if what == "two-network" else 1)]
        self.teacher = self.place(UNet(width=args.width)) if what == "student" else None
        self.x = torch.randn(args.batch, 3, args.size, args.size, device=self.device)
        self.x = self.x.to(memory_format=torch.channels_last)
        self.y = torch.randint(0, 2, (args.batch, args.size, args.size), device=self.device)
        params = [p for net in self.nets for p in net.parameters()]
        self.optimiser = torch.optim.SGD(params, lr=.001, momentum=.9, weight_decay=1e-4)
        for net in self.nets:
            net.train(what != "infer")
        self.run = [net for net in self.nets]  # what is called: the networks, or compiled ones

    def place(self, net):
        return net.to(self.device).to(memory_format=torch.channels_last)

    def amp(self):
        if self.args.precision == "f32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def loss(self):
        with self.amp():
            z = [net(self.x) for net in self.run]
        if self.what == "student":
            return supervised(z[0], self.y)
        half = max(1, self.args.batch // 2)
        total = 0
        for mine, other in ((z[0], z[1]), (z[1], z[0])):
            total = total + supervised(mine[:half], self.y[:half])
            if half < self.args.batch:
                total = total + .1 * F.cross_entropy(mine[half:].float(), other[half:].detach().argmax(1))
        return total

    def step(self):
        if self.what == "infer":
            with torch.no_grad(), self.amp():
                self.run[0](self.x)
            return
        self.optimiser.zero_grad(set_to_none=False)
        self.loss().backward()
        self.optimiser.step()
        if self.teacher is not None:
            with torch.no_grad():
                mine, theirs = list(self.nets[0].parameters()), list(self.teacher.parameters())
                if hasattr(torch, "_foreach_lerp_"):
                    torch._foreach_lerp_(theirs, mine, .01)
                else:
                    for t, m in zip(theirs, mine):
                        t.lerp_(m, .01)

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def prepare(work, way):
    """The step of a way as a function, or a reason why there is none."""
    if way == "eager":
        return work.step
    if work.device.type != "cuda":
        raise RuntimeError("for a GPU")
    if way == "compile":
        if not hasattr(torch, "compile"):
            raise RuntimeError("torch.compile wants PyTorch 2")
        work.run = [torch.compile(net, mode="max-autotune-no-cudagraphs") for net in work.nets]
        return work.step
    if not hasattr(torch.cuda, "CUDAGraph"):
        raise RuntimeError("this PyTorch has no CUDA graphs")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work.step()
    work.graph = graph
    return graph.replay


def measure(args, what, way):
    line = {"bench": "peer", "peer": "pytorch " + torch.__version__, "what": what, "way": way,
            "precision": args.precision, "batch": args.batch, "size": args.size, "width": args.width,
            "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu"}
    try:
        work = Work(args, what)
        step = prepare(work, way)
        for _ in range(args.warm_up):
            step()
        work.wait()
        seconds = []
        for _ in range(args.rounds):
            start = time.perf_counter()
            for _ in range(args.steps):
                step()
            work.wait()
            seconds.append((time.perf_counter() - start) / args.steps)
        median = sorted(seconds)[len(seconds) // 2]
        line.update(seconds=round(median, 7), patches_per_s=round(args.batch / median, 2))
    except Exception as problem:  # one way that fails leaves the others their turn
        line["skipped"] = "%s: %s" % (type(problem).__name__, str(problem).splitlines()[0] if str(problem) else "")
    print(json.dumps(line), flush=True)
    if args.device == "cuda":
        torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--steps", type=int, default=10, help="between two looks at the clock")
    parser.add_argument("--warm-up", type=int, default=10)
    parser.add_argument("--what", choices=WHATS, action="append")
    parser.add_argument("--way", choices=WAYS, action="append")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print(json.dumps({"bench": "peer", "peer": "pytorch " + torch.__version__,
                          "skipped": "this PyTorch sees no GPU"}))
        return
    torch.backends.cudnn.benchmark = True
    for what in args.what or WHATS:
        for way in args.way or WAYS:
            measure(args, what, way)


if __name__ == "__main__":
    main()
