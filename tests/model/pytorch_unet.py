"""The U-Net under PyTorch's module names, and safetensors read and written by hand.

An oracle for the tests: nothing here is shared with the program under test, and the file format
is spelled out once more instead of taken from a package.
"""
import json
import struct

import numpy as np
import torch
from torch import nn

DTYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "U64": np.uint64, "U8": np.uint8}


def read_safetensors(path):
    """name -> numpy array, and the metadata."""
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(n))
        data = f.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], DTYPES[t["dtype"]]).reshape(t["shape"]).copy()
    return tensors, metadata


def write_safetensors(path, tensors):
    """As PyTorch users' files are: no metadata, tensors in the order given."""
    names = {v: k for k, v in DTYPES.items()}
    header, data = {}, b""
    for name, a in tensors.items():
        raw = np.ascontiguousarray(a).tobytes()
        header[name] = {"dtype": names[a.dtype.type], "shape": list(a.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


class Block(nn.Module):
    def __init__(self, c_in, c_out, dropout):
        super().__init__()
        self.conv_conv = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.01),
            nn.Dropout(dropout),
            nn.Conv2d(c_out, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.01))

    def forward(self, x):
        return self.conv_conv(x)


class Down(nn.Module):
    def __init__(self, c_in, c_out, dropout):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), Block(c_in, c_out, dropout))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, c_deep, c_skip):
        super().__init__()
        self.conv1x1 = nn.Conv2d(c_deep, c_skip, 1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv = Block(2 * c_skip, c_skip, 0.0)

    def forward(self, deep, skip):
        return self.conv(torch.cat([skip, self.up(self.conv1x1(deep))], dim=1))


class Encoder(nn.Module):
    def __init__(self, width, dropout):
        super().__init__()
        c = [width << i for i in range(5)]
        self.in_conv = Block(3, c[0], dropout[0])
        for i in range(1, 5):
            setattr(self, f"down{i}", Down(c[i - 1], c[i], dropout[i]))

    def forward(self, x):
        levels = [self.in_conv(x)]
        for i in range(1, 5):
            levels.append(getattr(self, f"down{i}")(levels[-1]))
        return levels


class Decoder(nn.Module):
    def __init__(self, width, n_classes):
        super().__init__()
        c = [width << i for i in range(5)]
        for i in range(1, 5):
            setattr(self, f"up{i}", Up(c[5 - i], c[4 - i]))
        self.out_conv = nn.Conv2d(c[0], n_classes, 3, padding=1)

    def forward(self, levels):
        x = levels[4]
        for i in range(1, 5):
            x = getattr(self, f"up{i}")(x, levels[4 - i])
        return self.out_conv(x)


class UNet(nn.Module):
    def __init__(self, n_classes, width=16, dropout=(0.0,) * 5):
        super().__init__()
        self.encoder = Encoder(width, dropout)
        self.decoder = Decoder(width, n_classes)

    def forward(self, x):
        return self.decoder(self.encoder(x))


def load_unet(path):
    """Our file into the network, strictly: every name, every shape, nothing else."""
    tensors, _ = read_safetensors(path)
    width = tensors["encoder.in_conv.conv_conv.0.weight"].shape[0]
    net = UNet(tensors["decoder.out_conv.weight"].shape[0], width)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()}, strict=True)
    return net


def nchw(x):
    """(n,h,w,c) numpy to an (n,c,h,w) tensor."""
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()


def nhwc(t):
    return t.detach().permute(0, 2, 3, 1).contiguous().numpy()
