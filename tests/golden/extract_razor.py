#!/usr/bin/env python3
"""Converts the razor, logits and KV goldens of an independent implementation.

    python3 tests/golden/extract_razor.py REFERENCE

REFERENCE is the folder smollm2 of the reference values, made with
transformers 5.23 and PyTorch 2.15 in float32 from SmolLM2-135M-Instruct.  Of
razor.safetensors only the 20 largest logits of each answer row are kept, with
the logits of the answer's own tokens and the log of the sum of exponentials,
and the compensation entries of the local heads.  Everything else is copied.
"""
import json
import math
import pathlib
import shutil
import struct
import sys

HERE = pathlib.Path(__file__).parent / "smollm2"


def tensors(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    return {
        name: (tensor["shape"],
               struct.unpack(f"<{(tensor['data_offsets'][1] - tensor['data_offsets'][0]) // 4}f",
                             raw[8 + length + tensor["data_offsets"][0]:
                                 8 + length + tensor["data_offsets"][1]]))
        for name, tensor in header.items() if name != "__metadata__"
    }


def top_rows(values, shape, answer):
    rows = []
    for row in range(shape[0]):
        logits = values[row * shape[1]:(row + 1) * shape[1]]
        top = sorted(range(shape[1]), key=lambda i: (-logits[i], i))[:20]
        largest = logits[top[0]]
        rows.append({
            "ids": top,
            "logits": [logits[i] for i in top],
            "answer_logit": logits[answer[row]],
            "log_sum_exp": largest + math.log(
                math.fsum(math.exp(x - largest) for x in logits)),
        })
    return rows


def write_safetensors(path, named):
    header, payload = {}, b""
    for name, (shape, values) in named.items():
        chunk = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(payload), len(payload) + len(chunk)]}
        payload += chunk
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + payload)


def main():
    source = pathlib.Path(sys.argv[1])
    for name in ("logits.json", "kv.json", "kv.safetensors", "razor.json",
                 "profile_500x4.json", "demo.json"):
        shutil.copy(source / name, HERE / name)
    ids = json.loads((source / "head_scores.json").read_text())
    (HERE / "head_scores_ids.json").write_text(json.dumps(
        {key: ids[key] for key in ("ids", "block", "repeats")}) + "\n")
    razor = json.loads((source / "razor.json").read_text())
    values = tensors(source / "razor.safetensors")
    (HERE / "razor_logits.json").write_text(json.dumps({
        name.removesuffix(".logits"): top_rows(data, shape, razor["answer_ids"])
        for name, (shape, data) in values.items() if name.endswith(".logits")
    }) + "\n")
    write_safetensors(HERE / "razor_compensation.safetensors", {
        name: value for name, value in values.items()
        if name.startswith("compensation.")})


if __name__ == "__main__":
    main()
