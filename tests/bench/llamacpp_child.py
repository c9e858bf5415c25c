"""One measurement of llama.cpp through its C functions; see llamacpp.py.

Runs in the Python that has it: llamacpp_child.py JOB, where JOB is the JSON
object that llamacpp.job_of makes.  Prints one row.
"""
import ctypes
import json
import os
import sys
import time

import llama_cpp

import machine

BATCH_TOKENS = 2048  # llama.cpp's own defaults
COMPUTED_TOKENS = 512
CELLS = 256  # its cache is a multiple of so many tokens


def prompt(count, seed):
    """Token ids by chance: speed does not depend on what they say."""
    ids = []
    for _ in range(count):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        ids.append(1000 + (seed >> 8) % 40000)
    return ids


def load_model(job):
    quiet = llama_cpp.llama_log_callback(
        lambda level, text, _: job.get("verbose")
        and sys.stderr.write(text.decode(errors="replace"))
    )
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = 0
    parameters.use_extra_bufts = job["backend"] != "gccnoamx"
    model = llama_cpp.llama_model_load_from_file(
        job["model"].encode(), parameters
    )
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {job['model']}")
    return model, quiet  # the callback lives as long


def make_context(job, model):
    parameters = llama_cpp.llama_context_default_params()
    each = job["context_tokens"] + job["generate"] + 8
    parameters.n_ctx = -(-each // CELLS) * CELLS * job["sequences"]
    parameters.n_seq_max = job["sequences"]
    parameters.kv_unified = job["sequences"] == 1
    parameters.n_batch = BATCH_TOKENS
    parameters.n_ubatch = COMPUTED_TOKENS
    parameters.n_threads = parameters.n_threads_batch = job["threads"]
    parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F16
    parameters.flash_attn_type = int(job["flash_attention"])
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        raise RuntimeError("llama.cpp refuses these parameters")
    return context


class Sequences:
    """As many sequences as the job has, from one prompt."""

    def __init__(self, job, context):
        self._count = job["sequences"]
        self._context = context
        self._memory = llama_cpp.llama_get_memory(context)
        self._sampler = llama_cpp.llama_sampler_init_greedy()
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._position = 0

    def prefill(self, ids):
        """Sequence 0 alone; seconds."""
        llama_cpp.llama_memory_clear(self._memory, True)
        began = time.perf_counter()
        for first in range(0, len(ids), BATCH_TOKENS):
            part = ids[first : first + BATCH_TOKENS]
            last = first + len(part) == len(ids)
            self._decode(
                [(id, first + i, 0) for i, id in enumerate(part)], last
            )
        self._position = len(ids)
        llama_cpp.llama_synchronize(self._context)
        return time.perf_counter() - began

    def spread(self):
        """Gives every sequence a copy of what sequence 0 has."""
        for sequence in range(1, self._count):
            llama_cpp.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)

    def generate(self, steps):
        """So many greedy tokens for each sequence; seconds and tokens."""
        tokens = [self._sample(-1)] * self._count
        chosen = []
        began = time.perf_counter()
        for _ in range(steps):
            entries = [
                (token, self._position, sequence)
                for sequence, token in enumerate(tokens)
            ]
            self._decode(entries, False, every_logit=True)
            self._position += 1
            tokens = [self._sample(i) for i in range(self._count)]
            chosen.append(tokens)
        llama_cpp.llama_synchronize(self._context)
        return time.perf_counter() - began, chosen

    def _sample(self, index):
        return llama_cpp.llama_sampler_sample(
            self._sampler, self._context, index
        )

    def _decode(self, entries, last_logit, every_logit=False):
        """Entries are (token, position, sequence)."""
        batch = self._batch
        batch.n_tokens = len(entries)
        for i, (token, position, sequence) in enumerate(entries):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = int(every_logit)
        if last_logit:
            batch.logits[len(entries) - 1] = 1
        if llama_cpp.llama_decode(self._context, batch):
            raise RuntimeError("llama_decode failed")


def measure(job, sequences):
    ids = prompt(job["context_tokens"], 1)
    rates = {"prefill": [], "decode": [], "other_cores": []}
    chosen = []
    for _ in range(job["repeats"]):
        with machine.LoadMeter() as meter:
            prefill = sequences.prefill(ids)
            sequences.spread()
            sequences.generate(1)  # copies are made by the first step
            decode, tokens = sequences.generate(job["generate"])
        rates["prefill"].append(len(ids) / prefill)
        rates["decode"].append(
            job["generate"] * job["sequences"] / decode
        )
        rates["other_cores"].append(meter.other_cores)
        chosen.append(tokens)
    return {
        "prefill_tokens_per_s": machine.spread(rates["prefill"]),
        "decode_tokens_per_s": machine.spread(rates["decode"]),
        "other_cores": machine.spread(rates["other_cores"]),
        "same_tokens_every_time": all(each == chosen[0] for each in chosen),
        "same_tokens_every_sequence": all(
            len(set(tokens)) == 1 for tokens in chosen[0]
        ),
    }


def main():
    job = json.loads(sys.argv[1])
    model, _quiet = load_model(job)
    context = make_context(job, model)
    sequences = Sequences(job, context)
    sequences.prefill(prompt(64, 7))  # threads and buffers
    sequences.spread()
    sequences.generate(2)
    figures = measure(job, sequences)
    label = {key: job[key] for key in job if key not in ("model", "verbose")}
    machine.print_row(
        peer="llama.cpp",
        engine=f"llama-cpp-python {llama_cpp.__version__}",
        system=llama_cpp.llama_print_system_info().decode(),
        model=os.path.basename(job["model"]),
        **label,
        **figures,
        resident_bytes=machine.resident_bytes("self"),
    )


if __name__ == "__main__":
    main()
