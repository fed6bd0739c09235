#!/usr/bin/env python3
"""The same U-Net, step and settings in PyTorch: a peer for bench/engine.

Prints one JSON line a measurement: the training step (forward, a loss's gradient, backward, SGD with
momentum) and inference, as PyTorch comes or in channels_last. The allocator is tuned from outside, by
MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_ and MALLOC_TOP_PAD_ in the environment.
"""
import argparse
import json
import os
import sys
import time

try:
    import torch
    from torch import nn
except ImportError as problem:
    print(json.dumps({"bench": "peer", "peer": "pytorch", "skipped": str(problem)}))
    sys.exit(0)


def block(cin, cout, p):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.LeakyReLU(),
                         nn.Dropout(p), nn.Conv2d(cout, cout, 3, padding=1), nn.BatchNorm2d(cout),
                         nn.LeakyReLU())


class UNet(nn.Module):
    def __init__(self, cin=3, classes=2, width=16):
        super().__init__()
        c = [width << i for i in range(5)]
        p = [.05, .1, .2, .3, .5]
        self.enc = nn.ModuleList([block(cin if i == 0 else c[i - 1], c[i], p[i]) for i in range(5)])
        self.pool = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.reduce = nn.ModuleList([nn.Conv2d(c[i + 1], c[i], 1) for i in range(4)])
        self.dec = nn.ModuleList([block(2 * c[i], c[i], 0) for i in range(4)])
        self.head = nn.Conv2d(c[0], classes, 3, padding=1)

    def forward(self, x):
        skips = []
        for i, e in enumerate(self.enc):
            x = e(self.pool(x) if i else x)
            skips.append(x)
        for i in (3, 2, 1, 0):
            x = self.dec[i](torch.cat([skips[i], self.up(self.reduce[i](x))], 1))
        return self.head(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--what", choices=["train", "infer"], default="train")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="bf16: by autocast")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.clock == "cpu" else time.monotonic
    torch.manual_seed(1)
    net = UNet()
    x = torch.randn(args.batch, 3, args.size, args.size)
    if args.channels_last:
        net = net.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), lr=.01, momentum=.9, weight_decay=1e-4)
    net.train(args.what == "train")

    def forward():
        if args.precision == "f32":
            return net(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return net(x)

    def step():
        start = clock()
        if args.what == "train":
            optimiser.zero_grad()
            z = forward()
            z.backward(z.detach() / z[:, 0].numel())
            optimiser.step()
        else:
            with torch.inference_mode():
                forward()
        return clock() - start

    step()  # warms up
    seconds = [min(step(), step()) for _ in range(args.rounds)]  # the faster of two, as bench_engine
    seconds.sort()
    median = seconds[len(seconds) // 2]
    setting = "channels_last" if args.channels_last else "as_it_comes"
    if "MALLOC_TOP_PAD_" in os.environ:
        setting += "+malloc"
    if args.precision == "bf16":
        setting += "+bf16"
    print(json.dumps({"bench": "peer", "peer": "pytorch " + torch.__version__, "what": args.what,
                      "setting": setting, "clock": args.clock, "batch": args.batch, "size": args.size,
                      "threads": args.threads, "seconds": round(median, 5),
                      "images_per_s": round(args.batch / median, 3)}), flush=True)


if __name__ == "__main__":
    main()
