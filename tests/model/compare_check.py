#!/usr/bin/env python3
"""PyTorch's side of test_compare_steps: one training step of each comparison method.

  compare_check.py              reads lines "METHOD DIR": DIR/step.safetensors and net<k>.safetensors,
                                written by the test, against the same step computed here in float64;
                                answers each with "agrees" or "differs", and what differs before it

Networks and losses are written from the methods' papers as docs/training.md and ssl-methods C.9 tell
them, with torch's autograd; dropout, noise and perturbations are off. Compared: the loss, and every
parameter and running statistic of every trained network and of the teacher after the step. Then the step is
taken once more with one formula spoiled (PLANT), and that must be seen. backbone_check.py has the
methods that MetaSSL is added to.
"""
import math
import os
import sys
import traceback

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from pytorch_unet import Decoder, Encoder, nchw, read_safetensors

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
PLANT = ""  # the method whose formula is spoiled


# ---- networks ------------------------------------------------------------------------------------
class TransposedUp(nn.Module):
    def __init__(self, block, c_deep, c_skip):
        super().__init__()
        self.up = nn.ConvTranspose2d(c_deep, c_skip, 2, stride=2)
        self.conv = block

    def forward(self, deep, skip):
        return self.conv(torch.cat([skip, self.up(deep)], dim=1))


class Net(nn.Module):
    """The U-Net with whatever the weights file names beside it."""

    def __init__(self, tensors):
        super().__init__()
        width = tensors["encoder.in_conv.conv_conv.0.weight"].shape[0]
        classes = tensors["decoder.out_conv.weight"].shape[0]
        c = [width << i for i in range(5)]
        self.encoder, self.decoder = Encoder(width, (0.0,) * 5), Decoder(width, classes)
        if "mapping.weight" in tensors:
            self.mapping = nn.Conv2d(c[4], c[4], 1, bias=False)
        if "decoder2.out_conv.weight" in tensors:
            self.decoder2 = Decoder(width, classes)
            for i in range(1, 5):
                up = getattr(self.decoder2, f"up{i}")
                setattr(self.decoder2, f"up{i}", TransposedUp(up.conv, c[5 - i], c[4 - i]))
        if "decoder.out_conv_dp1.weight" in tensors:
            for level in (1, 2, 3):
                setattr(self.decoder, f"out_conv_dp{level}", nn.Conv2d(c[level], classes, 3, padding=1))
        self.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()}, strict=False)
        missing = set(self.state_dict()) - set(tensors)
        assert all(m.endswith("num_batches_tracked") for m in missing), missing
        self.double().train()

    def decode(self, decoder, levels):
        """Features of levels 3..0, and the logits."""
        x, features = levels[4], []
        for i in range(1, 5):
            x = getattr(decoder, f"up{i}")(x, levels[4 - i])
            features.append(x)
        return features, decoder.out_conv(x)

    def forward(self, x):
        levels = self.encoder(x)
        if hasattr(self, "mapping"):
            levels = levels[:4] + [self.mapping(levels[4])]
        features, z = self.decode(self.decoder, levels)
        out = {"z": z, "encoder": levels[:4], "bottleneck": levels[4]}
        if hasattr(self, "decoder2"):
            features, out["z2"] = self.decode(self.decoder2, levels)
            out["decoder2"] = features[::-1]
        if hasattr(self.decoder, "out_conv_dp1"):
            heads = [getattr(self.decoder, f"out_conv_dp{k}")(features[3 - k]) for k in (1, 2, 3)]
            out["heads"] = [z] + [F.interpolate(h, scale_factor=2 ** (k + 1), mode="nearest")
                                  for k, h in enumerate(heads)]
        return out


# ---- losses --------------------------------------------------------------------------------------
def valid_of(label):
    return (label != 255).double(), torch.where(label != 255, label, torch.zeros_like(label))


def cross_entropy(z, label):
    w, t = valid_of(label)
    return (w * F.cross_entropy(z, t, reduction="none")).sum() / w.sum()


def dice(z, label, eps=1e-5):
    w, t = valid_of(label)
    p, w = torch.softmax(z, 1), w.unsqueeze(1)
    t = F.one_hot(t, z.shape[1]).permute(0, 3, 1, 2).double()
    return 1 - (((w * 2 * t * p).sum((0, 2, 3)) + eps) / ((w * (t + p)).sum((0, 2, 3)) + eps)).mean()


def supervised(z, label):
    return cross_entropy(z, label) + dice(z, label)


def uamt(r):
    r.ema = (min(1 - 1 / (r.it + 1), 0.99), False)
    n, student, teacher = r.n_labelled, r.nets[0](r.x)["z"], r.nets[1]
    with torch.no_grad():
        passes = [torch.softmax(teacher(r.x[n:])["z"], 1) for _ in range(1 + r.int("passes"))]
        target, mean = passes[0], sum(passes[1:]) / r.int("passes")
        entropy = -(mean * torch.log(mean + 1e-6)).sum(1)
        ramp = math.exp(-5 * (1 - r.it / r.total) ** 2)
        sure = (entropy < (0.75 + 0.25 * ramp) * math.log(mean.shape[1])).double().unsqueeze(1)
        assert 0 < sure.mean() < 1, "the mask must matter"
        if PLANT == "UAMT":
            sure = torch.ones_like(sure)
    distance = (sure * (torch.softmax(student[n:], 1) - target) ** 2).sum()
    return supervised(student[:n], r.label) + r.lam * distance / (mean.shape[1] * sure.sum())


def urpc(r):
    n, heads = r.n_labelled, r.nets[0](r.x)["heads"]
    loss = sum(supervised(z[:n], r.label) for z in heads) / 4
    p = [torch.softmax(z[n:], 1) for z in heads]
    mean = sum(p) / 4
    unsure = 0
    for q in p:
        v = (mean * (torch.log(mean) - torch.log(q))).sum(1, keepdim=True)
        e = torch.exp(-v)
        unsure = unsure + (((mean - q) ** 2) * e).mean() / (e.mean() + 1e-8)
        unsure = unsure + (0 if PLANT == "URPC" else v.mean())
    return loss + r.lam * unsure / 4


def ccvc(r):
    n, out = r.n_labelled, [net(r.x) for net in r.nets]
    z, f = [o["z"] for o in out], [o["bottleneck"] for o in out]
    loss = r.real("w_sup") * sum(supervised(a[:n], r.label) for a in z) / 2
    for own in (0, 1):
        conf, y = torch.softmax(z[1 - own][n:].detach(), 1).max(1)
        conflict = (z[own][n:].argmax(1) != y) & (conf > r.real("theta"))
        w = 1 + (r.real("omega") - 1) * conflict.double()
        ce = F.cross_entropy(z[own][n:], y, reduction="none")
        loss = loss + 0.5 * r.real("w_con") * (w * ce).mean()
        other = f[1 - own] if PLANT == "CCVC" else f[1 - own].detach()
        cosine = (f[own] * other).sum(1) / (f[own].norm(dim=1) * other.norm(dim=1)).clamp(min=1e-6)
        loss = loss + 0.5 * r.real("w_dis") * (1 + cosine.mean())
    return loss


def attention(f):
    a = (f ** 2).mean(1).flatten(1)
    return a / a.norm(dim=1, keepdim=True).clamp(min=1e-12)


def dcnet(r):
    n, out = r.n_labelled, r.nets[0](r.x)
    z = [out["z"], out["z2"]]
    p = [torch.softmax(a, 1) for a in z]
    sure = [torch.softmax(a / 0.5, 1) for a in z]
    keep = torch.cat([valid_of(r.label)[0], torch.ones_like(z[0][n:, 0])])  # labels of 255: nothing
    mean = [float((keep * a.max(1)[0]).sum() / keep.sum()) for a in p]
    ratio = (r.it + 1) / r.total
    mu = min((1 - ratio) * r.real("mu") + ratio * m for m in mean)
    mu = min(max(mu, r.real("mu_low")), r.real("mu_high"))
    high = ((p[0] > mu) & (p[1] > mu)).double()
    assert 0 < high.mean() < 1, "the mask must matter"
    loss = dice(z[0][:n], r.label) + dice(z[1][:n], r.label)
    for own in (0, 1):
        to = 1 - own
        target = (high * p[to]).argmax(1)
        ce = F.cross_entropy(high * z[own], target, reduction="none")
        loss = loss + r.real("w_direct") * (keep * ce).sum() / keep.sum()
        larger = ((1 - high) * p[to] > (1 - high) * p[own]).double()
        square = ((larger * (sure[own] - sure[to].detach())) ** 2).mean(1)
        loss = loss + r.real("w_decoupled") * r.lam * (keep * square).sum() / keep.sum()
    for f, g in zip(out["encoder"], out["decoder2"]):
        g = g if PLANT == "DCNet" else g.detach()
        loss = loss + r.real("w_attention") * (1 - r.lam) * ((attention(f) - attention(g)) ** 2).mean()
    return loss


def rank(z, counter, order):
    """Pixels in `order` (of the batch, flat), each against the one before it."""
    s = torch.softmax(z, 1).max(1)[0].flatten()[order]
    k = torch.from_numpy(counter.astype(np.float64)).flatten()[order]
    k = (k - k.min()) / (k.max() - k.min())
    ks, ss = torch.roll(k, 1), torch.roll(s, 1)
    if PLANT == "CEUD":
        ks, ss = torch.roll(k, 2), torch.roll(s, 2)
    return torch.relu(-torch.sign(ks - k) * (ss - s) + (ks - k).abs()).mean()


def ceud(r):
    n, z = r.n_labelled, r.nets[0](r.x)["z"]
    loss = supervised(z[:n], r.label)
    loss = loss + r.real("w_correct") * rank(z[:n], r.io["correctness"], r.io["order_labelled"].astype(np.int64))
    return loss + r.real("w_agree") * rank(z, r.io["agreement"], r.io["order_all"].astype(np.int64))


def crossed(r, outer_first, inner_first, outer_second, inner_second):
    """x_U, then x_L: a box of the one in the other."""
    m = torch.zeros(r.x.shape[2:], dtype=torch.bool)
    m[r.int("y0"):r.int("y1"), r.int("x0"):r.int("x1")] = True
    return torch.where(m, inner_first, outer_first), torch.where(m, inner_second, outer_second)


def sdcl(r):
    n, h = r.n_labelled, r.n_labelled // 2
    r.ema = (0.99, True)
    xl, xu = r.x[:n], r.x[n:]
    with torch.no_grad():
        pseudo = r.nets[1](xu)["z"].argmax(1)
    nothing = torch.full_like(pseudo, 255)
    mixed = crossed(r, xu[:h], xl[:h], xl[h:], xu[h:])
    label = crossed(r, nothing[:h], r.label[:h], r.label[h:], nothing[h:])
    guess = crossed(r, pseudo[:h], nothing[:h], nothing[h:], pseudo[h:])
    z = [net(torch.cat(mixed))["z"] for net in (r.nets[0], r.nets[2])]
    loss = 0
    for own in (0, 1):
        for part in (0, 1):
            a, b = (s[part * h:(part + 1) * h] for s in (z[own], z[1 - own]))
            loss = loss + supervised(a, label[part]) + r.real("u") * supervised(a, guess[part])
            t = torch.where(label[part] != 255, label[part], guess[part])
            w = torch.where(label[part] != 255, 1.0, r.real("u"))
            valid, t = valid_of(t)
            differ = valid * (a.argmax(1) != b.argmax(1))
            wrong = differ * (a.argmax(1) != t)
            if PLANT == "SDCL":
                wrong = differ
            one_hot = F.one_hot(t, a.shape[1]).permute(0, 3, 1, 2).double()
            mse = ((torch.softmax(a, 1) - one_hot) ** 2).mean(1)
            kl = -torch.log_softmax(a, 1).mean(1)
            loss = loss + r.real("w_mse") * (differ * w * mse).sum() / differ.sum()
            loss = loss + r.real("w_kl") * (wrong * w * kl).sum() / wrong.sum()
    return loss


METHODS = {"SDCL": sdcl, "UAMT": uamt, "URPC": urpc, "CCVC": ccvc, "DCNet": dcnet, "CEUD": ceud}


# ---- the step ------------------------------------------------------------------------------------
class Run:
    def __init__(self, method, folder):
        self.io, _ = read_safetensors(os.path.join(folder, "step.safetensors"))
        self.nets, self.folder = [], folder
        while os.path.exists(self.path("net")):
            self.nets.append(Net(read_safetensors(self.path("net"))[0]))
        self.method, self.x = METHODS[method], nchw(self.io["x"].astype(np.float64))
        self.label = torch.from_numpy(self.io["label"]).long()
        self.n_labelled = self.label.shape[0]
        self.lam, self.it, self.total = self.real("lambda"), self.real("it"), self.real("total")
        self.ema = None  # of network 1, the teacher: weight of the old, with running statistics or not

    def path(self, kind, k=None):
        k = len(self.nets) if k is None else k
        return os.path.join(self.folder, f"{kind}{k}.safetensors")

    def real(self, name):
        return float(self.io[name][0])

    def int(self, name):
        return int(self.io[name][0])

    def step(self):
        trained = [net for k, net in enumerate(self.nets) if self.io["trained"][k]]
        parameters = [p for net in trained for p in net.parameters()]
        lr, decay = self.real("lr"), self.real("weight_decay")
        optimiser = (torch.optim.Adam(parameters, lr=lr, weight_decay=decay) if self.int("adam")
                     else torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=decay))
        loss = self.method(self)
        loss.backward()
        optimiser.step()
        if self.ema:
            self.average(*self.ema)
        return loss.item()

    @torch.no_grad()
    def average(self, alpha, with_buffers):
        student, teacher = self.nets[0].state_dict(), self.nets[1].state_dict()
        for name in teacher:
            if with_buffers or not ".running_" in name:
                if not name.endswith("num_batches_tracked"):
                    teacher[name].mul_(alpha).add_(student[name], alpha=1 - alpha)


def agrees(method, folder, say):
    r = Run(method, folder)
    loss, ours = r.step(), r.real("loss")
    ok = abs(loss - ours) <= 1e-9 * abs(loss)
    say(f"loss {ours:.12g}, wanted {loss:.12g} ({'agrees' if ok else 'DIFFERS'})")
    for k, net in enumerate(r.nets):
        if not r.io["trained"][k] and not (r.ema and k == 1):
            continue
        after = read_safetensors(r.path("after", k))[0]
        for name, p in net.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            want = p.detach().numpy()
            # files hold f32; a bias before BatchNorm has gradient 0 but for rounding
            error = float(np.abs(after[name] - want).max())
            if not error <= 1e-6 * max(1e-2, float(np.abs(want).max())):
                say(f"network {k}, {name}: largest difference {error:.3g}")
                ok = False
    return ok


def check(method, folder):
    global PLANT
    PLANT = ""
    ok = agrees(method, folder, print)
    PLANT = method
    seen = not agrees(method, folder, lambda _: None)
    print("a wrong formula is " + ("seen" if seen else "NOT SEEN"))
    return ok and seen


def main():
    for line in sys.stdin:
        method, folder = line.split()
        try:
            ok = check(method, folder)
        except Exception:  # said to the test, which goes on with the next method
            traceback.print_exc(file=sys.stdout)
            ok = False
        print("agrees" if ok else "differs", flush=True)


if __name__ == "__main__":
    main()
