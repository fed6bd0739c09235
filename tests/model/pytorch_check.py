#!/usr/bin/env python3
"""PyTorch's side of test_pytorch: forward passes and training steps, computed independently.

  pytorch_check.py forward DIR        our model and logits against PyTorch's
  pytorch_check.py make DIR           a PyTorch model file and its logits, for us to load
  pytorch_check.py steps DIR          our losses of 20 training steps against autograd's
  pytorch_check.py plant DIR          the same with a slightly wrong momentum: must differ

Losses are written from the equations of MetaSSL (arXiv paper, eqs. 1-12) with torch's autograd, in
float64; networks run in the precision that steps.safetensors asks for. Exit status 0 when all agree;
else 1 and what differs.
"""
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

from pytorch_unet import UNet, load_unet, nchw, nhwc, read_safetensors, write_safetensors

torch.set_num_threads(1)  # two threads on busy cores wait for each other more than they compute


def check(what, got, want, atol, rtol):
    """True when |got - want| <= atol + rtol·|want| everywhere; NaN is not."""
    error = np.abs(got.astype(np.float64) - want.astype(np.float64))
    ok = bool(np.all(error <= atol + rtol * np.abs(want)))
    worst = float(np.nanmax(error)) if error.size else float("nan")
    print(f"{what}: largest difference {worst:.3g} ({'agrees' if ok else 'DIFFERS'})")
    return ok


def forward(folder):
    net = load_unet(os.path.join(folder, "model.safetensors"))
    io, _ = read_safetensors(os.path.join(folder, "io.safetensors"))
    ok = True
    with torch.no_grad():
        for mode in ("eval", "train"):
            getattr(net, mode)()
            ok &= check(f"logits in {mode} mode", io[f"logits_{mode}"], nhwc(net(nchw(io["x"]))), 1e-4, 0)
    state = net.state_dict()
    for name in ("encoder.in_conv.conv_conv.1.running_mean", "decoder.up4.conv.conv_conv.5.running_var",
                 "encoder.down4.maxpool_conv.1.conv_conv.5.running_var"):
        ok &= check(name, io[name], state[name].numpy(), 1e-5, 1e-5)
    return ok


def make(folder):
    torch.manual_seed(5)
    net = UNet(3, 16)
    with torch.no_grad():
        net.train()
        for _ in range(3):  # running statistics that are not 0 and 1
            net(torch.randn(2, 3, 32, 48))
        net.eval()
        x = torch.randn(2, 3, 32, 48)
        logits = net(x)
    write_safetensors(os.path.join(folder, "pytorch.safetensors"),
                      {k: v.numpy() for k, v in net.state_dict().items()})
    write_safetensors(os.path.join(folder, "pytorch_io.safetensors"),
                      {"x": nhwc(x), "logits": nhwc(logits)})
    return True


# ---- losses ------------------------------------------------------------------------------------
def weights_of(delta, labelled):
    phi = [math.exp(-((k * delta) ** 3)) for k in range(4)]
    return torch.tensor([phi[0], phi[1], phi[3], phi[2]] if labelled else phi, dtype=torch.float64)


def weighted_ce(z, target, w):
    ce = F.cross_entropy(z, target, reduction="none")
    return (w * ce).sum() / w.sum()


def weighted_dice(z, target, w, eps=1e-5):
    p = torch.softmax(z, 1)
    t = F.one_hot(target, z.shape[1]).permute(0, 3, 1, 2).double()
    w = w.unsqueeze(1)
    n = (w * 2 * t * p).sum((0, 2, 3)) + eps
    d = (w * (t + p)).sum((0, 2, 3)) + eps
    return 1 - (n / d).mean()


class Threshold:
    """γ per class, one per reference role and stream; eqs. (9), (10)."""

    def __init__(self, gamma0, a, n_classes):
        self.a, self.gamma = a, torch.full((n_classes,), gamma0, dtype=torch.float64)

    def partition(self, z_ref, compared, valid):
        conf, y = torch.softmax(z_ref, 1).max(1)
        for c in range(len(self.gamma)):
            mine = (y == c) & valid
            if mine.any():
                self.gamma[c] = self.a * conf[mine].mean() + (1 - self.a) * self.gamma[c]
        region = 2 * (y != compared).long() + (conf <= self.gamma[y]).long()
        return region, y


def metassl(z, z_ref, label, threshold):
    """label None: unlabelled. The reference carries no gradient."""
    z, z_ref = z.double(), z_ref.detach().double()
    if label is None:
        valid = torch.ones_like(z[:, 0], dtype=torch.bool)
        region, y = threshold.partition(z_ref, z.argmax(1), valid)
        return weighted_ce(z, y, weights_of(0.6, False)[region])
    valid = label != 255
    target = torch.where(valid, label, torch.zeros_like(label))
    region, _ = threshold.partition(z_ref, label, valid)
    w = weights_of(0.3, True)[region] * valid
    return weighted_ce(z, target, w) + weighted_dice(z, target, w)


def plain(z, label):
    z, valid = z.double(), label != 255
    target = torch.where(valid, label, torch.zeros_like(label))
    w = valid.double()
    return weighted_ce(z, target, w) + weighted_dice(z, target, w)


# ---- the steps ---------------------------------------------------------------------------------
class Run:
    def __init__(self, folder, method, io, momentum):
        self.method, self.io = method, io
        self.dtype = torch.float64 if io["double"][0] else torch.float32
        self.n_labelled = io["label"].shape[1]
        self.steps, self.horizon, self.lr = io["x"].shape[0], io["horizon"][0], io["lr"][0]
        self.net = [load_unet(os.path.join(folder, f"start{i}.safetensors")) for i in (1, 2)]
        for net in self.net:
            net.train().to(self.dtype)
        trained = self.net if method == "CPS" else self.net[:1]
        self.optimisers = [torch.optim.SGD(net.parameters(), lr=1, momentum=momentum, weight_decay=1e-4)
                           for net in trained]
        gamma0, a = float(io["gamma0"][0]), float(io["gamma_a"][0])
        self.thresholds = [Threshold(gamma0, a, 2) for _ in range(4)]

    def loss(self, it, x, label):
        n, lam = self.n_labelled, math.exp(-5 * (1 - (it + 1) / self.steps) ** 2)
        if self.method == "SL":
            return plain(self.net[0](x)[:n], label)
        if self.method == "MT":
            z = self.net[0](x)
            with torch.no_grad():
                z_ref = self.net[1](x)
            return (metassl(z[:n], z_ref[:n], label, self.thresholds[0])
                    + lam * metassl(z[n:], z_ref[n:], None, self.thresholds[1]))
        z1, z2 = self.net[0](x), self.net[1](x)
        return (metassl(z1[:n], z2[:n], label, self.thresholds[0])
                + metassl(z2[:n], z1[:n], label, self.thresholds[1])
                + lam * (metassl(z1[n:], z2[n:], None, self.thresholds[2])
                         + metassl(z2[n:], z1[n:], None, self.thresholds[3])))

    def step(self, it):
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.lr * (1 - it / self.horizon) ** 0.9
            optimiser.zero_grad()
        x = self.io["x"][it].reshape(-1, *self.io["label"].shape[2:], 3)
        loss = self.loss(it, nchw(x).to(self.dtype), torch.from_numpy(self.io["label"][it]).long())
        loss.backward()
        for optimiser in self.optimisers:
            optimiser.step()
        if self.method == "MT":
            alpha = min(1 - 1 / (it + 1), 0.99)
            with torch.no_grad():
                for teacher, student in zip(self.net[1].parameters(), self.net[0].parameters()):
                    teacher.mul_(alpha).add_(student, alpha=1 - alpha)
        return loss.item()


def steps(folder, momentum, methods):
    io, _ = read_safetensors(os.path.join(folder, "steps.safetensors"))
    ok = True
    for method in methods:
        run = Run(folder, method, io, momentum)
        losses = np.array([run.step(it) for it in range(run.steps)])
        ours = io[f"losses_{method}"]
        print(f"{method}: from {losses[0]:.6f} to {losses[-1]:.6f}, ours {ours[0]:.6f} to {ours[-1]:.6f}")
        ok &= check(f"{method}: relative loss", ours / losses, np.ones_like(losses), io["tolerance"][0], 0)
        ok &= bool(losses[-1] < losses[0])  # it trained: a constant would agree with itself
    return ok


def main():
    command, folder = sys.argv[1], sys.argv[2]
    if command == "forward":
        return forward(folder)
    if command == "make":
        return make(folder)
    if command == "plant":
        return steps(folder, 0.89, ["SL"])
    return steps(folder, 0.9, ["SL", "MT", "CPS"])


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
