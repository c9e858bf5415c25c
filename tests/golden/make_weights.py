#!/usr/bin/env python3
"""Makes tests/golden/weights: random blocks of every weight type and the
float32 values that the PyPI package gguf 0.19.0 gives for them.

    pip install gguf==0.19.0 numpy && tests/golden/make_weights.py

TYPE.blocks holds the stored bytes, TYPE.f32 the values, little-endian.
"""
import pathlib

import gguf
import numpy as np

SEED = 20240718
BLOCKS = 6
# Byte offsets of the binary16 scales in a block: random bits there could be
# infinite or not a number.
SCALES = {
    "F32": [], "F16": [], "BF16": [], "Q8_0": [0], "Q4_0": [0],
    "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}


def blocks_of(name, rng):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    if elements == 1:
        values = rng.standard_normal(256).astype(np.float32)
        if name == "F32":
            return values.view(np.uint8)
        if name == "F16":
            # Normal, subnormal, zero, largest.
            half = values.astype(np.float16)
            half[:6] = [0.0, -0.0, 6e-8, -5.9e-5, 65504.0, -65504.0]
            return half.view(np.uint8)
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
    for offset in SCALES[name]:
        scale = rng.uniform(-0.1, 0.1, BLOCKS).astype(np.float16)
        blocks[:, offset:offset + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(-1)


def main():
    folder = pathlib.Path(__file__).parent / "weights"
    rng = np.random.default_rng(SEED)
    for name in SCALES:
        blocks = blocks_of(name, rng)
        kind = gguf.GGMLQuantizationType[name]
        values = gguf.quants.dequantize(blocks.reshape(1, -1), kind)
        assert np.isfinite(values).all()
        (folder / f"{name}.blocks").write_bytes(blocks.tobytes())
        (folder / f"{name}.f32").write_bytes(
            values.astype("<f4").tobytes())


if __name__ == "__main__":
    main()
