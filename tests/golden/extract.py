#!/usr/bin/env python3
"""Converts golden values of an independent implementation for the tests.

    python3 tests/golden/extract.py REFERENCE

REFERENCE is the folder smollm2 of the reference values, made with
transformers 5.23 and PyTorch 2.15 in float32 from SmolLM2-135M-Instruct.  The
scores come from its profile_500x4.safetensors and head_scores.safetensors
(float32, written so that they read back exactly); the chosen heads from
profile_500x4.json, and from razor.json, which was selected from head_scores
without the minimum echo score; the kept fractions from demo.json.
"""
import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).parent


def tensors(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        values = struct.unpack(f"<{(end - begin) // 4}f",
                               raw[8 + length + begin:8 + length + end])
        yield name, tensor["shape"], values


def scores(path):
    return {
        name: [list(values[row * shape[1]:(row + 1) * shape[1]])
               for row in range(shape[0])]
        for name, shape, values in tensors(path)
    }


def main():
    source = pathlib.Path(sys.argv[1])
    target = HERE / "smollm2"
    target.mkdir(exist_ok=True)

    def load(name):
        return json.loads((source / name).read_text())

    razor = load("razor.json")
    demo = load("demo.json")
    files = {
        "profile_scores.json": {
            **scores(source / "profile_500x4.safetensors"),
            "retrieval": load("profile_500x4.json")["retrieval_kv_heads"],
        },
        "head_scores.json": {
            **scores(source / "head_scores.safetensors"),
            "retrieval_without_echo_min": razor["retrieval"],
        },
        "retention.json": {
            "razor": {
                "num_tokens": len(razor["context_ids"]),
                "sinks": razor["sinks"],
                "window": razor["window"],
                "dropped": razor["dropped_per_local_head"],
            },
            "demo": {
                "num_tokens": demo["context_tokens_with_header"],
                "boundary": demo["boundary"],
                "kept_fraction": {
                    policy: values["kept_fraction"]
                    for policy, values in demo["policies"].items()
                },
            },
        },
    }
    for name, content in files.items():
        (target / name).write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
