#!/usr/bin/env python3
"""PyTorch's side of test_train_compared: one training step of SL and of the six methods that MetaSSL is
added to, plain and with it.

  backbone_check.py   as compare_check.py, whose network and step this uses

Here nothing is switched off: dropout's masks and CCT's perturbations of features are made again from
Philox (Salmon et al., SC 2011) by the rules that kernels/engine/ops.h states, boxes and holes of mixed
images come with the step, and excluded pixels count nowhere. Losses are written from
ssl-methods A.1 to A.7 and C.2 to C.8.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import compare_check as step
from compare_check import supervised, valid_of
from pytorch_unet import Decoder, nchw

DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)  # of the encoder's levels
FIRST_PERTURBATION = 4096  # high counters: dropout of BatchNorm k has k
N_AUX = 3


# ---- random draws ----------------------------------------------------------------------------------
def philox(key, low, high):
    """Philox4x32-10 of many low counters: (4, n) words."""
    mask, key = 0xFFFFFFFF, int(key)
    low = np.asarray(low, np.uint64)
    k = [key & mask, key >> 32]
    c = [low & mask, low >> 32, np.full_like(low, high & mask), np.full_like(low, high >> 32)]
    for _ in range(10):
        p = [c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)]
        c = [p[1] >> 32 ^ c[1] ^ k[0], p[1] & mask, p[0] >> 32 ^ c[3] ^ k[1], p[0] & mask]
        c = [np.asarray(x, np.uint64) & mask for x in c]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return np.stack(c)


def kept(shape, p, stream, layer):
    """Dropout's factors for (n,c,h,w), drawn in the order (n,h,w,c)."""
    n, c, h, w = shape
    e = np.arange(n * c * h * w)
    within = e % 128
    words = philox(stream, e // 128 * 16 + within % 16, layer)[within // 32, e]
    bits = np.where(within % 32 >= 16, words >> np.uint64(16), words & np.uint64(0xFFFF))
    threshold = round(p * 65536)
    scale = 65536 / (65536 - threshold)
    return nchw(np.where(bits >= threshold, scale, 0.0).reshape(n, h, w, c))


def uniform(words, lo, hi):
    return lo + (hi - lo) * (words >> np.uint64(8)).astype(np.float64) / 2 ** 24


def noised(f, stream, layer):
    _, c, h, w = f.shape
    e = np.arange(c * h * w)
    words = philox(stream, e // 64 * 16 + e % 16, layer)[e % 64 // 16, e]
    return f * (1 + nchw(uniform(words, -0.3, 0.3).reshape(1, h, w, c)))


def dropped(f, stream, layer):
    a = f.mean(1, keepdim=True)
    r = uniform(philox(stream, [0], layer)[0, 0], 0.7, 0.9)
    return f * (a < r * a.amax((2, 3), keepdim=True)).detach()


def masked(f, stream, layer):
    return f * kept(f.shape, 0.3, stream, layer)


PERTURBATIONS = (noised, masked, dropped)


class Drawn(nn.Module):
    """Dropout of an encoder level, as the step with this stream had it."""

    def __init__(self, owner, level):
        super().__init__()
        self.owner, self.level = [owner], level

    def forward(self, x):
        p = float(np.float32(DROPOUT[self.level]))
        return x * kept(x.shape, p, self.owner[0].stream, 2 * self.level)


class Net(step.Net):
    """The U-Net with its dropout, and CCT's auxiliary decoders where the file has them."""

    def __init__(self, tensors):
        super().__init__(tensors)
        self.stream, width = 0, tensors["encoder.in_conv.conv_conv.0.weight"].shape[0]
        self.encoder.in_conv.conv_conv[3] = Drawn(self, 0)
        for level in range(1, 5):
            getattr(self.encoder, f"down{level}").maxpool_conv[1].conv_conv[3] = Drawn(self, level)
        if "aux_decoder1.out_conv.weight" in tensors:
            for k in range(1, N_AUX + 1):
                decoder = Decoder(width, tensors["decoder.out_conv.weight"].shape[0])
                prefix = f"aux_decoder{k}."
                decoder.load_state_dict({n[len(prefix):]: torch.from_numpy(v).double()
                                         for n, v in tensors.items() if n.startswith(prefix)},
                                        strict=False)
                setattr(self, f"aux_decoder{k}", decoder.double().train())

    def seen(self, x, stream):
        """Logits; of CCT's network those of the main decoder and of the three others."""
        self.stream = stream
        levels = self.encoder(x)
        z = [self.decode(self.decoder, levels)[1]]
        for k in range(N_AUX if hasattr(self, "aux_decoder1") else 0):
            first = FIRST_PERTURBATION + 5 * k
            moved = [PERTURBATIONS[k](f, stream, first + i) for i, f in enumerate(levels)]
            z.append(self.decode(getattr(self, f"aux_decoder{k + 1}"), moved)[1])
        return z if len(z) > 1 else z[0]


# ---- MetaSSL ---------------------------------------------------------------------------------------
class Thresholds:
    """γ of one role on one half: A.6. Predictions are probabilities."""

    def __init__(self, r):
        self.a, self.gamma = r.real("gamma_a"), np.full(3, r.real("gamma0"))

    def update(self, p, valid):
        conf, y = p.max(1)
        for c in range(len(self.gamma)):
            mine = (y == c) & valid
            if mine.any():
                self.gamma[c] += self.a * (float(conf[mine].mean()) - self.gamma[c])


def weights(p, compared, gamma, delta, swapped):
    """Of the four regions UC, US, DC, DS; A.1 and A.2."""
    conf, y = p.max(1)
    phi = [math.exp(-(k * delta) ** 3) for k in range(4)]
    if swapped and not step.PLANT:
        phi[2], phi[3] = phi[3], phi[2]
    region = 2 * (y != compared).long() + (conf <= torch.from_numpy(gamma)[y]).long()
    return torch.tensor(phi)[region], region


def weighed(z, target, w, with_dice):
    """A.3 to A.5: normalised by the sum of the weights."""
    loss = (w * F.cross_entropy(z, target, reduction="none")).sum() / w.sum()
    if not with_dice:
        return loss
    p, t = torch.softmax(z, 1), F.one_hot(target, z.shape[1]).permute(0, 3, 1, 2).double()
    w = w.unsqueeze(1)
    over = (w * 2 * t * p).sum((0, 2, 3)) + 1e-5
    return loss + 1 - (over / ((w * (t + p)).sum((0, 2, 3)) + 1e-5)).mean()


def lqh(z, p_ref, label, gamma):
    valid, target = valid_of(label)
    w, _ = weights(p_ref, target, gamma, 0.3, True)
    return weighed(z, target, w * valid, True)


REGIONS_SEEN = set()


def uqh(z, p_ref, valid, gamma):
    w, region = weights(p_ref, z.argmax(1), gamma, 0.6, False)
    REGIONS_SEEN.update(region[valid].tolist())
    return weighed(z, p_ref.argmax(1), w * valid.double(), False)


def probabilities(z):
    return torch.softmax(z.detach(), 1)


# ---- the methods -----------------------------------------------------------------------------------
def facts(r):
    """What this script needs beside compare_check's: excluded pixels of the unlabelled half."""
    r.valid = torch.from_numpy(r.io["exclude"]) != 255
    return r.n_labelled, r.valid, r.label != 255


def stream(r, f):
    return int(r.io[f"stream{f}"][0])


def sl(r, meta):
    known = r.label != 255  # the whole batch is labelled
    z = r.nets[0].seen(r.x, stream(r, 0))
    if not meta:
        return supervised(z, r.label) * (1.01 if step.PLANT == "SL" else 1)
    p, labelled = probabilities(r.nets[0].seen(r.x, stream(r, 1))), Thresholds(r)
    labelled.update(p, known)
    return lqh(z, p, r.label, labelled.gamma)


def mt(r, meta):
    n, valid, known = facts(r)
    r.ema = (min(1 - 1 / (r.it + 1), 0.99), False)
    z = r.nets[0].seen(r.x, stream(r, 0))
    with torch.no_grad():
        p = probabilities(r.nets[1].seen(r.x if meta else r.x[n:], stream(r, 1)))
    if not meta:
        square = ((torch.softmax(z[n:], 1) - p) ** 2).mean(1)
        seen = torch.ones_like(valid) if step.PLANT == "MT" else valid
        return supervised(z[:n], r.label) + r.lam * (seen * square).sum() / seen.sum()
    labelled, unlabelled = Thresholds(r), Thresholds(r)
    labelled.update(p[:n], known)
    unlabelled.update(p[n:], valid)
    loss = lqh(z[:n], p[:n], r.label, labelled.gamma)
    return loss + r.lam * uqh(z[n:], p[n:], valid, unlabelled.gamma)


def cps(r, meta):
    n, valid, known = facts(r)
    z = [net.seen(r.x, stream(r, f)) for f, net in enumerate(r.nets)]
    loss = 0
    for own in (0, 1):
        p = probabilities(z[1 - own])
        if not meta:
            y = p[n:].argmax(1) if step.PLANT != "CPS" else z[own][n:].argmax(1)
            ce = F.cross_entropy(z[own][n:], y, reduction="none")
            loss = loss + supervised(z[own][:n], r.label) + r.lam * (valid * ce).sum() / valid.sum()
            continue
        labelled, unlabelled = Thresholds(r), Thresholds(r)
        labelled.update(p[:n], known)
        unlabelled.update(p[n:], valid)
        loss = loss + lqh(z[own][:n], p[:n], r.label, labelled.gamma)
        loss = loss + r.lam * uqh(z[own][n:], p[n:], valid, unlabelled.gamma)
    return loss


def cut(r, images, blank):
    """CutMix of the unlabelled images: the next one's pixels in the box; in the hole `blank`."""
    out = images.clone()
    for i, (box, hole) in enumerate(zip(r.io["boxes"].astype(int), r.io["holes"].astype(int))):
        inside = np.s_[..., box[1]:box[3], box[0]:box[2]]
        out[i][inside] = images[(i + 1) % len(images)][inside]
        if blank is not None:
            out[i][..., hole[1]:hole[3], hole[0]:hole[2]] = blank
    return out


def fixmatch(r, meta):
    n, valid, known = facts(r)
    strong = nchw(r.io["strong"].astype(np.float64))
    strong = torch.cat([strong[:n], cut(r, strong[n:], None if step.PLANT == "FixMatch" else 0.0)])
    weak = r.nets[0].seen(r.x, stream(r, 0))
    z = r.nets[0].seen(strong if meta else strong[n:], stream(r, 1))
    moved = probabilities(cut(r, weak[n:], None))
    valid = cut(r, valid, False)  # a hole is nobody's to learn from
    if not meta:
        conf, y = moved.max(1)
        sure = valid & (conf >= r.real("tau"))
        assert 0.1 < sure.sum() / valid.sum() < 0.9, "tau must matter"
        ce = F.cross_entropy(z, y, reduction="none")
        return supervised(weak[:n], r.label) + r.lam * (sure * ce).sum() / valid.sum()
    of_weak, of_strong, unlabelled = Thresholds(r), Thresholds(r), Thresholds(r)
    of_weak.update(probabilities(weak[:n]), known)
    of_strong.update(probabilities(z[:n]), known)
    unlabelled.update(moved, valid)
    loss = 0.5 * (lqh(z[:n], probabilities(weak[:n]), r.label, of_weak.gamma)
                  + lqh(weak[:n], probabilities(z[:n]), r.label, of_strong.gamma))
    return loss + r.lam * uqh(z[n:], moved, valid, unlabelled.gamma)


def cct(r, meta):
    n, valid, known = facts(r)
    main, *aux = r.nets[0].seen(r.x, stream(r, 0))
    p = probabilities(main)
    if not meta:
        loss = sum(supervised(z[:n], r.label) for z in [main] + aux) / 4
        target = torch.softmax(main, 1) if step.PLANT == "CCT" else p
        for z in aux:
            square = ((torch.softmax(z[n:], 1) - target[n:]) ** 2).mean(1)
            loss = loss + r.lam / 3 * (valid * square).sum() / valid.sum()
        return loss
    mean = sum(probabilities(z) for z in aux) / 3
    of_aux, of_main, unlabelled = Thresholds(r), Thresholds(r), Thresholds(r)
    of_aux.update(mean[:n], known)
    of_main.update(p[:n], known)
    unlabelled.update(p[n:], valid)
    loss = lqh(main[:n], mean[:n], r.label, of_aux.gamma) / 4
    for z in aux:
        loss = loss + lqh(z[:n], p[:n], r.label, of_main.gamma) / 4
        loss = loss + r.lam / 3 * uqh(z[n:], p[n:], valid, unlabelled.gamma)
    return loss


def rdrop(r, meta):
    n, valid, known = facts(r)
    z = [r.nets[0].seen(r.x, stream(r, f)) for f in (0, 1)]
    loss = 0
    if not meta:
        logs = [torch.log_softmax(a[n:], 1) for a in z]
        for own in (0, 1):
            to = logs[own].detach() if step.PLANT == "RDrop" else logs[own]
            kl = (logs[1 - own].exp() * (logs[1 - own] - to)).sum(1)
            loss = loss + 0.5 * supervised(z[own][:n], r.label)
            loss = loss + r.lam * 0.5 * (valid * kl).sum() / valid.sum()
        return loss
    labelled, unlabelled = Thresholds(r), Thresholds(r)  # of the network: both passes share them
    for other in (1, 0):
        labelled.update(probabilities(z[other][:n]), known)
        unlabelled.update(probabilities(z[other][n:]), valid)
    for own in (0, 1):
        p = probabilities(z[1 - own])
        loss = loss + 0.5 * lqh(z[own][:n], p[:n], r.label, labelled.gamma)
        loss = loss + r.lam * uqh(z[own][n:], p[n:], valid, unlabelled.gamma)
    return loss


def box_of(r):
    inside = torch.zeros(r.x.shape[2:], dtype=torch.bool)
    inside[r.int("y0"):r.int("y1"), r.int("x0"):r.int("x1")] = True
    return inside


def bcp_pretraining(r, _):
    facts(r)
    h, inside = r.n_labelled // 2, box_of(r)
    x = torch.where(inside, r.x[h:2 * h], r.x[:h])
    label = torch.where(inside, r.label[h:2 * h], r.label[:h])
    nothing = torch.full_like(label, 255)
    z = r.nets[0].seen(x, stream(r, 0))
    if step.PLANT:
        return supervised(z, label)
    return (supervised(z, torch.where(inside, nothing, label))
            + supervised(z, torch.where(inside, label, nothing)))


def largest(y):
    """Of each class but 0 the largest island of each image, corners touching; the rest becomes 0."""
    out = torch.zeros_like(y)
    for image, kept in zip(y.tolist(), out):
        best, seen = {}, set()
        for i, row in enumerate(image):
            for j, c in enumerate(row):
                if c == 0 or (i, j) in seen:
                    continue
                island, todo = [], [(i, j)]
                seen.add((i, j))
                while todo:
                    a, b = todo.pop()
                    island.append((a, b))
                    for at in ((a + u, b + v) for u in (-1, 0, 1) for v in (-1, 0, 1)):
                        inside = 0 <= at[0] < len(image) and 0 <= at[1] < len(row)
                        if inside and at not in seen and image[at[0]][at[1]] == c:
                            seen.add(at)
                            todo.append(at)
                if len(island) > len(best.get(c, [])):
                    best[c] = island
        for c, island in best.items():
            for a, b in island:
                kept[a, b] = c
    return out


def bcp(r, meta):
    n, valid, _ = facts(r)
    h, inside, u = n // 2, box_of(r), r.real("u")
    r.ema = (0.99, True)

    def crossed(unlabelled, labelled):
        """x_U, then x_L."""
        return torch.cat([torch.where(inside, labelled[:h], unlabelled[:h]),
                          torch.where(inside, unlabelled[h:], labelled[h:])])

    with torch.no_grad():
        p = probabilities(r.nets[1].seen(r.x[n:], stream(r, 1)))
        if "filter" in r.io and step.PLANT != "BCP-filtered":
            y = largest(p.argmax(1))
            assert (y != p.argmax(1)).any(), "the filter must matter"
            p = F.one_hot(y, p.shape[1]).permute(0, 3, 1, 2).double()
        if meta:
            p = crossed(p, probabilities(r.nets[1].seen(r.x[:n], stream(r, 2))))
        else:
            p = crossed(p, torch.zeros_like(p))
    z = r.nets[0].seen(crossed(r.x[n:], r.x[:n]), stream(r, 4 if meta else 3))
    label = crossed(torch.full_like(r.label, 255), r.label)
    valid = crossed(valid, torch.zeros_like(valid))
    if not meta:
        pseudo = torch.where(valid, p.argmax(1), torch.full_like(label, 255))
        halves = (np.s_[:h], np.s_[h:]) if step.PLANT != "BCP" else (np.s_[:], np.s_[:])
        return sum(supervised(z[part], label[part]) + u * supervised(z[part], pseudo[part])
                   for part in halves)
    labelled, unlabelled = Thresholds(r), Thresholds(r)
    labelled.update(p, label != 255)
    unlabelled.update(p, valid)
    return lqh(z, p, label, labelled.gamma) + u * uqh(z, p, valid, unlabelled.gamma)


def with_loss(method, meta):
    def run(r):
        REGIONS_SEEN.clear()
        loss = method(r, meta)
        assert method is sl or not meta or REGIONS_SEEN == {0, 1, 2, 3}, "every region must count"
        return loss
    return run


def main():
    step.Net = Net
    for name, method in (("SL", sl), ("MT", mt), ("CPS", cps), ("FixMatch", fixmatch), ("CCT", cct),
                         ("RDrop", rdrop), ("BCP", bcp)):
        step.METHODS[name] = with_loss(method, False)
        step.METHODS[name + "-metassl"] = with_loss(method, True)
    step.METHODS["BCP-filtered"] = with_loss(bcp, False)
    step.METHODS["BCP-pretraining"] = with_loss(bcp_pretraining, False)
    step.main()


if __name__ == "__main__":
    main()
