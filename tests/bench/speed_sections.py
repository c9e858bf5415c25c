"""What is measured for the speed table, section by section.

Every section is a function of (Bench, Sizes) that returns {row key: samples};
samples are described in speed_rows.py.
"""
import collections
import dataclasses

import speed_measure
import speed_rows
import speed_samples


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured; the defaults are the table's."""

    contexts: tuple = (512, 4096, 8000)
    batch_context: int = 4096
    sequences: int = 8
    working_set: str = "1200MiB"  # of which ragged rows fill 1 GiB and more
    batch_store: str = "2GiB"
    pull_bytes: tuple = (64 << 20, 256 << 20)
    quick: bool = False


QUICK = Sizes(
    contexts=(64, 128, 256),
    batch_context=128,
    sequences=2,
    working_set="32MiB",
    batch_store="64MiB",
    pull_bytes=(2 << 20, 8 << 20),
    quick=True,
)


def speed(bench, sizes):
    """Prefill, decode and compaction, ours and llama.cpp's by turns."""
    contexts = ",".join(map(str, sizes.contexts))

    def ours():
        return bench.engine(
            "engine", "--contexts", contexts, "--working-set", "512MiB"
        )

    def theirs():
        figures = ("prefill_tokens_per_s", "decode_tokens_per_s")
        return {n: bench.llama_best(n, figures) for n in sizes.contexts}

    return alternate(
        bench,
        ours,
        theirs,
        lambda mine, llama: speed_samples.engine_samples(*mine, llama),
    )


def eight(bench, sizes):
    """Several sequences in one batch, ours and llama.cpp's by turns."""

    def ours():
        return bench.engine(
            *("batch", "--batch-context", sizes.batch_context),
            *("--batch-sequences", sizes.sequences),
            *("--store-size", sizes.batch_store, "--working-set", "1GiB"),
        )

    def theirs():
        figure = "decode_tokens_per_s"
        return bench.llama_best(
            sizes.batch_context, (figure,), sizes.sequences
        )[figure]

    return alternate(
        bench,
        ours,
        theirs,
        lambda mine, llama: speed_samples.eight_samples(*mine, llama),
    )


def alternate(bench, ours, theirs, samples_of):
    """Each side first by turns; without llama.cpp our side alone."""
    collected = collections.defaultdict(list)
    for turn in range(bench.options.alternations):
        llama = None
        if bench.options.llama and turn % 2 == 1:
            llama = theirs()
        mine = ours()
        if bench.options.llama and turn % 2 == 0:
            llama = theirs()
        for key, value in samples_of(mine, llama).items():
            collected[key].append(value)
    return collected


def attention(bench, sizes):
    collected = collections.defaultdict(list)
    for _ in range(bench.options.alternations):
        report, others = bench.engine(
            "attention", "--working-set", sizes.working_set
        )
        samples = speed_samples.attention_samples(report, others)
        for key, value in samples.items():
            collected[key].append(value)
    return collected


def processes(bench, sizes):
    return speed_samples.process_samples(
        *bench.winnow(
            *("serve", "--model", bench.options.model, "--answers-only"),
            *("--rounds", bench.options.alternations),
            *(["--quick"] if sizes.quick else []),
        )
    )


def pull(bench, sizes):
    return speed_samples.pull_samples(
        *bench.winnow(
            *("transfer", "--rounds", bench.options.alternations),
            *(["--quick"] if sizes.quick else []),
        )
    )


def start(bench, sizes):
    """Time to ready and resident memory then."""
    del sizes
    report, _ = bench.engine(
        "engine", "--contexts", "16", "--working-set", "1MiB"
    )
    weights = report["roofs"]["weight_bytes"]
    limit = (1.3 * weights + 64e6) / 1e6
    loaded = report["memory_after_loading"]["resident_bytes"]
    samples = {"start": [], "memory": []}
    for _ in range(bench.options.alternations):
        (seconds, resident), others = bench.quiet(
            lambda: speed_measure.start_server(bench.options)
        )
        samples["start"].append(speed_samples.sample(seconds, 1.0, others))
        most = max(resident["VmRSS"], loaded) / 1e6
        samples["memory"].append(
            speed_samples.sample(most, limit, others, roof=weights / 1e6)
        )
    return samples


SECTIONS = {
    "speed": speed,
    "eight": eight,
    "attention": attention,
    "processes": processes,
    "pull": pull,
    "start": start,
}


def rows_of(sizes):
    """All rows, in the order of the table."""
    return [
        *speed_rows.prefill_rows(sizes.contexts),
        *speed_rows.decode_rows(sizes.contexts),
        *speed_rows.eight_rows(sizes.sequences, sizes.batch_context),
        *speed_rows.attention_rows(),
        *speed_rows.equal_rows(),
        *speed_rows.compaction_rows(sizes.contexts),
        *speed_rows.process_rows(),
        *speed_rows.pull_rows(sizes.pull_bytes),
        *speed_rows.start_rows(),
        *speed_rows.memory_rows(),
    ]
