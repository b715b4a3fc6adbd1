"""Quantised formats as others decode them: the package gguf, and for what it does not have a line of NumPy."""

import gguf.quants
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

NF4 = np.float32(
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
     -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
     0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]
)  # fmt: skip
# Where a block has halves; their bits are chosen, so that no infinity or NaN is among them.
HALVES = {
    "q8_0": [0], "q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q2_k": [80, 82], "q3_k": [108],
    "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208], "iq4_nl": [0], "iq4_xs": [0], "mxfp4": [], "tq1_0": [52],
    "tq2_0": [64], "int8": [0, 2], "nf4": [0],
}  # fmt: skip
FORMATS = list(HALVES)
# What the package quantises to.
ENCODED = ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "mxfp4", "tq1_0", "tq2_0"]
OWN = {"int8": (128, 132), "nf4": (64, 34)}


def sizes(name):
    """Elements and bytes of a block."""
    return OWN.get(name) or GGML_QUANT_SIZES[GGMLQuantizationType[name.upper()]]


def half(blocks, at):
    return np.ascontiguousarray(blocks[..., at : at + 2]).view(np.float16).astype(np.float32)


def decode(name, blocks):
    """The float32 values of rows of blocks, `uint8[..., bytes]`."""
    elements, size = sizes(name)
    shape = (*blocks.shape[:-1], blocks.shape[-1] // size * elements)
    blocks = np.ascontiguousarray(blocks).reshape(-1, size)
    with np.errstate(all="ignore"):
        if name == "int8":
            low, high = half(blocks, 0), half(blocks, 2)
            values = low + blocks[:, 4:].astype(np.float32) * ((high - low) / np.float32(255))
        elif name == "nf4":
            q = blocks[:, 2:, None] >> np.uint8([0, 4]) & np.uint8(15)
            values = half(blocks, 0) * NF4[q.reshape(len(blocks), 64)]
        else:
            values = gguf.quants.dequantize(blocks, GGMLQuantizationType[name.upper()])
    return values.reshape(shape)


def encode(name, values):
    return gguf.quants.quantize(values, GGMLQuantizationType[name.upper()])


def random_blocks(name, rows, length, seed=0, *, extreme=False):
    """Rows of random blocks. Their scales are such as weights have, or any finite ones if `extreme`."""
    rng = np.random.default_rng(seed)
    elements, size = sizes(name)
    count = rows * length // elements
    blocks = rng.integers(0, 256, (count, size), np.uint8)
    for at in HALVES[name]:
        bits = rng.normal(0, 0.02, count).astype(np.float16).view(np.uint16)
        if extreme:
            # Subnormal ones and the largest among them.
            kinds = rng.integers(0, 4, count)
            bits = np.choose(kinds, [bits, rng.integers(0, 0x7C00, count), rng.integers(0, 0x400, count), 0x7BFF])
            bits = bits.astype(np.uint16) & 0x7FFF | rng.integers(0, 2, count, np.uint16) << 15
        blocks[:, at : at + 2] = bits[:, None].view(np.uint8)
    if name == "mxfp4":
        blocks[:, 0] = rng.integers(0, 256, count) if extreme else rng.integers(118, 128, count)
    if name == "int8" and not extreme:
        blocks[:, 0:2] = (-np.abs(half(blocks, 0))).astype(np.float16).view(np.uint8)
        blocks[:, 2:4] = np.abs(half(blocks, 2)).astype(np.float16).view(np.uint8)
    return blocks.reshape(rows, count // rows * size)
