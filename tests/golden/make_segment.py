#!/usr/bin/env python3
"""Makes segment_v1.hex, keys.json and profile_v1.json from the grammars alone.

The grammars are at the top of cache_store/format/segment.cc, in
cache_store/format/block_chain.{h,cc} and in cache_store/plan/head_profile.h.  Nothing here runs Winnow: the C++ must
reproduce these bytes.  Needs the PyPI package xxhash.

    python3 tests/golden/make_segment.py
"""
import hashlib
import json
import pathlib
import struct

import xxhash

HERE = pathlib.Path(__file__).parent


def u32(value):
    return struct.pack("<I", value)


def lp(data):
    return u32(len(data)) + data


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# --- segment ---------------------------------------------------------------


def seal(kind, key, chain_digest, shape, payload):
    """Returns header and payload; shape names the header's fields."""
    header = bytearray(256)
    struct.pack_into("<4sHBB32s32s", header, 0, b"WNSG", 1, ord(kind),
                     shape["dtype"], key, chain_digest)
    struct.pack_into("<IIIIII", header, 72, shape["layout_id"],
                     shape["head_dim"], shape["num_layers"],
                     shape["num_heads"], shape["num_blocks"],
                     shape["num_sinks"])
    struct.pack_into("<QQQ", header, 96, shape["first_token"],
                     shape["end_token"], len(payload))
    assert len(header) == 256
    checked = bytes(header[:120]) + bytes(header[136:]) + payload
    # digest() is the canonical, big-endian form.
    header[120:136] = xxhash.xxh3_128(checked).digest()
    return bytes(header) + payload


def golden_segment():
    """One bfloat16 block [64, 128) of the one local head of two layers."""
    shape = dict(dtype=1, layout_id=1, head_dim=16, num_layers=2, num_heads=1,
                 num_blocks=1, num_sinks=0, first_token=64, end_token=128)
    payload = bytes(i * 7 % 251 for i in range(2 * 64 * 16 * 2))
    return seal("W", bytes(range(32)), bytes(range(100, 132)), shape, payload)


# --- keys --------------------------------------------------------------------


def head_classes(layers, heads, retrieval):
    bits = bytearray((len(retrieval) + 7) // 8)
    for index, value in enumerate(retrieval):
        bits[index // 8] |= value << (index % 8)
    return u32(layers) + u32(heads) + bytes(bits)


def retention(policy, sinks, window, slack, weights):
    return (lp(policy.encode()) + u32(sinks) + u32(window) + u32(slack) +
            struct.pack(f"<I{len(weights)}f", len(weights), *weights))


def golden_keys():
    model, tokenizer = bytes([0x11] * 32), bytes([0x22] * 32)
    retrieval = [0, 1, 0, 1, 1, 0, 0, 0, 1]  # 3 layers, 3 KV heads
    weights = [0.5, 0, 1, 0, 0, 0.25, 0.75, 1, 0]
    kept = retention("razor", 4, 256, 256, weights)
    start = sha(b"\x00", lp(struct.pack("<H", 1)), lp(model), lp(tokenizer),
                lp(head_classes(3, 3, retrieval)), lp(b"\x01"),
                lp(struct.pack("<H", 1)), lp(b"theta=100000 scaling=none"),
                lp(b"salt"))
    ids = [(i * 37 + 5) % 49152 for i in range(1152)]
    tail = [7, 8, 49151]
    digests = [start]
    for k in range(len(ids) // 64):
        block = struct.pack("<64I", *ids[64 * k:64 * k + 64])
        digests.append(sha(b"\x01", digests[-1], block))

    def key(digest, kind, extras=b""):
        return sha(b"\x03", digest, kind.encode(), lp(extras))

    packed_tail = struct.pack(f"<{len(tail)}I", *tail)
    mark = sha(b"\x02", digests[-1], kept)
    next_ids = list(range(64))
    marked = sha(b"\x01", mark, struct.pack("<64I", *next_ids))
    return {
        "model_digest": model.hex(), "tokenizer_digest": tokenizer.hex(),
        "rotary": "theta=100000 scaling=none", "tenant_salt": "salt",
        "dtype": "bfloat16", "num_layers": 3, "num_kv_heads": 3,
        "retrieval": retrieval, "weights": weights,
        "policy": "razor,window=256", "ids": ids, "tail_ids": tail,
        "retention": kept.hex(),
        "digests": [d.hex() for d in digests],
        "retrieval_key_0": key(digests[1], "R").hex(),
        "window_key_17": key(digests[18], "W").hex(),
        "anchor_key": key(digests[-1], "A", kept).hex(),
        "tail_key": key(digests[-1], "T", packed_tail).hex(),
        "next_ids": next_ids,
        "marked_tail_key": key(mark, "T", packed_tail).hex(),
        "marked_digest": marked.hex(),
        "marked_retrieval_key_18": key(marked, "R").hex(),
    }


def golden_profile():
    """A tiny profile: 2 layers, 4 query heads, 2 KV heads."""
    profile = {
        "format_version": 1, "model_digest": "ab" * 32, "model_name": "tiny",
        "num_layers": 2, "num_heads": 4, "num_kv_heads": 2,
        "echo": [[0.1, 0.2, 0.0, 0.5], [0.0, 0.0, 1.0, 0.001]],
        "induction": [[0.9, 0.25, 0.125, 0.3], [0.7, 0.0, 1e-05, 0.5]],
        "rule": {"induction_share": 0.14, "echo_share": 0.01,
                 "echo_min": 0.3},
        "retrieval": [[0, 0], [1, 1]],
        "weights": [[0.0, 0.75], [1.5, 0.0]], "window": 256,
        "calibration": {"block": 4, "repeats": 2, "ids": [1, 2, 3, 4]},
    }
    canonical = json.dumps(profile, sort_keys=True, separators=(",", ":"))
    profile["digest"] = sha(canonical.encode()).hex()
    return json.dumps(profile, sort_keys=True, separators=(",", ":"))


def main():
    (HERE / "profile_v1.json").write_text(golden_profile() + "\n")
    dump = golden_segment().hex()
    lines = [dump[i:i + 64] for i in range(0, len(dump), 64)]
    (HERE / "segment_v1.hex").write_text("\n".join(lines) + "\n")
    text = json.dumps(golden_keys(), indent=1)
    (HERE / "keys.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
