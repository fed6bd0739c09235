#!/usr/bin/python3
"""A tiler as they are usually written: openslide-python, numpy, a process a core.

Does what `quadslide tile --level0 --no-tissue` does, with the same codec, quality and output: every cell
of the grid read with read_region, six quality numbers, encoded (Pillow's libjpeg-turbo at 4:4:4, or libzstd
with the same filter and level), appended to a pack and put into an SQLite index.

    openslide_tiler.py SLIDE OUT_DIR --codec jpeg|zstd [--patch 256] [--processes N]
"""
import argparse
import ctypes
import io
import multiprocessing
import os
import sqlite3

import numpy
import openslide

LEVEL, COMPRESSION_LEVEL, LITERAL_MODE, HUFFMAN = -1000, 100, 1002, 1
state = {}


def open_zstd():
    zstd = ctypes.CDLL("libzstd.so.1")
    for name in ("ZSTD_createCCtx", "ZSTD_compress2", "ZSTD_compressBound"):
        getattr(zstd, name).restype = ctypes.c_void_p if name == "ZSTD_createCCtx" else ctypes.c_size_t
    zstd.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
    zstd.ZSTD_CCtx_setParameter.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    zstd.ZSTD_compress2.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
    context = zstd.ZSTD_createCCtx()
    zstd.ZSTD_CCtx_setParameter(context, COMPRESSION_LEVEL, LEVEL)
    zstd.ZSTD_CCtx_setParameter(context, LITERAL_MODE, HUFFMAN)
    return zstd, context


def start(slide, out, codec, patch):
    state.update(slide=openslide.OpenSlide(slide), codec=codec, patch=patch)
    state["pack"] = open(os.path.join(out, f"{os.getpid()}.pack"), "wb")
    if codec == "zstd":
        state["zstd"] = open_zstd()


def quality(rgb):
    """white, dark, saturation, blur, pen: definitions of the program's quality numbers."""
    wide = rgb.astype(numpy.int16)
    r, g, b = wide[..., 0], wide[..., 1], wide[..., 2]
    hi = numpy.maximum(numpy.maximum(r, g), b)
    lo = numpy.minimum(numpy.minimum(r, g), b)
    pen = ((g - r > 20) & (g - b > 10)) | ((b - r > 50) & (g - r >= 15)) | ((r > 150) & (g < 60) & (b < 70))
    saturation = ((hi - lo) / numpy.maximum(hi, 1).astype(numpy.float32)).mean()
    luma = (77 * r.astype(numpy.int32) + 150 * g + 29 * b + 128) >> 8
    laplacian = 4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    return float((lo >= 220).mean()), float((hi <= 45).mean()), float(saturation), float(laplacian.var()), float(pen.mean())


def encode(image, rgb):
    if state["codec"] == "jpeg":
        out = io.BytesIO()
        image.save(out, "JPEG", quality=90, subsampling=0)
        return out.getbuffer()
    green = rgb[..., 1]
    planes = numpy.stack([green, rgb[..., 0] - green, rgb[..., 2] - green])
    planes[:, 1:] -= planes[:, :-1].copy()
    zstd, context = state["zstd"]
    bound = zstd.ZSTD_compressBound(planes.nbytes)
    out = ctypes.create_string_buffer(bound)
    n = zstd.ZSTD_compress2(context, out, bound, planes.ctypes.data, planes.nbytes)
    return memoryview(out)[:n]


def do_row(job):
    y, xs = job
    rows, pack, patch = [], state["pack"], state["patch"]
    for x in xs:
        image = state["slide"].read_region((x, y), 0, (patch, patch)).convert("RGB")
        rgb = numpy.asarray(image)
        numbers = quality(rgb)
        blob = encode(image, rgb)
        rows.append((x, y, *numbers, os.getpid(), pack.tell(), len(blob)))
        pack.write(blob)
    pack.flush()
    os.fdatasync(pack.fileno())
    return rows


def positions(side, patch):
    at = list(range(0, max(side - patch, 0) + 1, patch))
    if side > patch and at[-1] + patch < side:
        at.append(side - patch)
    return at


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("slide")
    parser.add_argument("out")
    parser.add_argument("--codec", choices=["jpeg", "zstd"], default="jpeg")
    parser.add_argument("--patch", type=int, default=256)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    width, height = openslide.OpenSlide(args.slide).dimensions
    index = sqlite3.connect(os.path.join(args.out, "index.db"))
    index.execute("CREATE TABLE patches (x, y, white, dark, saturation, blur, pen, pack, offset, n_bytes)")
    jobs = [(y, positions(width, args.patch)) for y in positions(height, args.patch)]
    with multiprocessing.Pool(args.processes, start, (args.slide, args.out, args.codec, args.patch)) as pool:
        for rows in pool.imap(do_row, jobs):
            index.executemany("INSERT INTO patches VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
            index.commit()
    print(index.execute("SELECT count(*), sum(n_bytes) FROM patches").fetchone())


if __name__ == "__main__":
    main()
