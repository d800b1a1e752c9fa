#!/usr/bin/env python3
"""Writes blocks of the iq2 and iq3 formats, random but for finite scales, and what the PyPI package gguf makes of them.

Usage: make_iq_goldens.py [tests/data/ggml-quants]       (pip install gguf; written with 0.19.0)
Writes NAME.bin, 32 blocks, and NAME.f32, their 8,192 values. Every entry of every codebook occurs.
"""
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType, quants

NUM_BLOCKS = 32
BLOCK_BYTES = {"IQ2_XXS": 66, "IQ2_XS": 74, "IQ2_S": 82, "IQ3_XXS": 98, "IQ3_S": 110}


def entries(rng, num_entries, per_block):
    """[NUM_BLOCKS, per_block] indices, each of num_entries at least once."""
    repeats = NUM_BLOCKS * per_block // num_entries
    return rng.permutation(np.tile(np.arange(num_entries), repeats)).reshape(NUM_BLOCKS, per_block)


def put_entries(name, rng, blocks):
    if name == "IQ2_XXS":
        blocks[:, 2:].reshape(NUM_BLOCKS, 8, 8)[:, :, :4] = entries(rng, 256, 32).reshape(NUM_BLOCKS, 8, 4)
    elif name == "IQ2_XS":
        index = entries(rng, 512, 32)
        blocks[:, 2:66:2] = index & 255
        blocks[:, 3:66:2] = blocks[:, 3:66:2] & 0xFE | index >> 8
    elif name == "IQ2_S":
        index = entries(rng, 1024, 32)
        blocks[:, 2:34] = index & 255
        blocks[:, 66:74] = ((index >> 8).reshape(NUM_BLOCKS, 8, 4) << np.array([0, 2, 4, 6])).sum(axis=2)
    elif name == "IQ3_XXS":
        blocks[:, 2:66] = entries(rng, 256, 64)
    else:
        index = entries(rng, 512, 64)
        blocks[:, 2:66] = index & 255
        blocks[:, 66:74] = ((index >> 8).reshape(NUM_BLOCKS, 8, 8) << np.arange(8)).sum(axis=2)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/ggml-quants")
    for seed, (name, block_bytes) in enumerate(BLOCK_BYTES.items()):
        rng = np.random.default_rng(seed)
        blocks = rng.integers(0, 256, (NUM_BLOCKS, block_bytes), dtype=np.uint8)
        put_entries(name, rng, blocks)
        scales = (rng.standard_normal(NUM_BLOCKS) * 0.01).astype("<f2")
        scales[:2] = [2.0**-24, -60000]  # the smallest, and one whose products are large
        blocks[:, :2] = scales.view(np.uint8).reshape(NUM_BLOCKS, 2)
        values = quants.dequantize(blocks.reshape(-1), GGMLQuantizationType[name]).astype("<f4")
        (root / f"{name.lower()}.bin").write_bytes(blocks.tobytes())
        (root / f"{name.lower()}.f32").write_bytes(values.tobytes())


if __name__ == "__main__":
    main()
