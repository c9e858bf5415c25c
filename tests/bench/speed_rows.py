"""The rows of the speed table: what is compared, what is wanted, what is met.

A sample is what one alternation says of a row: {"ours": x, "against": y or
None, "roof": z or None, "ratio": r, "other_cores": c, "rounds": n}, where n is
greater than 1 if a tool alternated by itself and the sample is its medians.  A
row's figures are medians over its samples; the ratio is the median of the
samples' ratios.
"""
import dataclasses

import machine

QUIET_CORES = 0.15  # others on more than so many disturb a measurement


@dataclasses.dataclass(frozen=True)
class Row:
    key: str
    name: str
    unit: str
    ratio_of: str  # what ours is divided by
    wanted: float  # of the ratio
    at_most: bool = False  # else at least
    needs: tuple = ()  # rows that must be met as well

    def holds(self, ratio):
        return ratio <= self.wanted if self.at_most else ratio >= self.wanted


GROUPS = (1, 2, 4, 8, 16)
SOCKETS = ("unix", "tcp")
POLICIES = ("full", "razor")
PREFILL_WANTED = (3, 6, 6)
FULL_WANTED = (1.5, 2, 2.2)
RAZOR_WANTED = (None, 3.5, 5)


def prefill_rows(contexts):
    return [
        Row(f"prefill/{n}", f"prefill, {n} tokens", "tokens/s", "llama.cpp", w)
        for n, w in zip(contexts, PREFILL_WANTED)
    ]


def decode_rows(contexts):
    rows = []
    for policy, wanted in (("full", FULL_WANTED), ("razor", RAZOR_WANTED)):
        rows += [
            Row(
                f"decode/{policy}/{n}",
                f"decode, {policy}, {n} tokens",
                "tokens/s",
                "llama.cpp",
                w,
            )
            for n, w in zip(contexts, wanted)
            if w
        ]
    return rows


def eight_rows(sequences, context):
    name = f"{sequences} sequences at {context}, razor"
    return [
        Row("eight/full", name, "tokens/s", "full", 2.0),
        Row("eight/llama", name, "tokens/s", "llama.cpp", 2.5),
    ]


def attention_rows():
    rows = [
        Row(
            f"attention/{g}",
            f"ragged attention, group {g}",
            "GB/s",
            "read roof",
            0.75,
        )
        for g in GROUPS
    ]
    rows.append(
        Row(
            "attention/16_over_4",
            "ragged attention, time of group 16",
            "ms",
            "group 4",
            1.15,
            at_most=True,
            needs=("attention/16",),
        )
    )
    return rows


def equal_rows():
    return [
        Row(
            f"equal/{kind}",
            f"time for rows as {text}",
            "GB/s",
            "equal rows",
            1.10,
            at_most=True,
        )
        for kind, text in (
            ("ragged", "chance has them"),
            ("razor", "razor has them"),
        )
    ]


def compaction_rows(contexts):
    return [
        Row(
            f"compaction/{n}", f"compaction, {n}", "ms", "prefill", 0.01, True
        )
        for n in contexts
    ]


def process_rows():
    figures = (
        ("second_token", "to the second token", 1.10),
        ("total", "for all tokens", 1.10),
        ("inter_token", "between tokens", 1.03),
    )
    return [
        Row(
            f"processes/{policy}/{key}",
            f"three roles' processes, {policy}, time {text}",
            "ms",
            "one process",
            wanted,
            at_most=True,
        )
        for policy in POLICIES
        for key, text, wanted in figures
    ]


def pull_rows(sizes):
    return [
        Row(
            f"pull/{socket}/{size}",
            f"gRPC pull, verified, {socket}, {size >> 20} MiB",
            "MiB/s",
            "raw socket",
            0.60,
        )
        for size in sizes
        for socket in SOCKETS
    ]


def start_rows():
    return [Row("start", "winnow serve, start to ready", "s", "1 s", 1, True)]


def memory_rows():
    return [
        Row(
            "memory",
            "resident after loading",
            "MB",
            "1.3 weights + 64 MB",
            1,
            at_most=True,
        )
    ]


def summarise(row, samples):
    """What the table says of a row that has samples."""

    def median(name):
        return machine.spread(sample[name] for sample in samples)

    def optional(name):
        return None if samples[0].get(name) is None else median(name)

    ratio = median("ratio")
    return {
        "key": row.key,
        "what": row.name,
        "unit": row.unit,
        "ours": median("ours"),
        "against": optional("against"),
        "ratio_of": row.ratio_of,
        "roof": optional("roof"),
        "ratio": ratio,
        "wanted": row.wanted,
        "at_most": row.at_most,
        "met": row.holds(ratio["median"]),
        "alternations": sum(sample["rounds"] for sample in samples),
        "other_cores": median("other_cores"),
    }


def table(rows, samples):
    """The rows that have samples, in order; a row is met if those it needs
    are."""
    figures = {
        row.key: summarise(row, samples[row.key])
        for row in rows
        if samples.get(row.key)
    }
    for row in rows:
        if row.key in figures:
            missed = [
                needed
                for needed in row.needs
                if not figures.get(needed, {"met": False})["met"]
            ]
            if missed:
                figures[row.key]["met"] = False
                figures[row.key]["missed_needs"] = missed
    return list(figures.values())


def number(value):
    """Three digits that count, or all before the point."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(figures):
    """The table as Markdown, one line for each row."""
    lines = [
        "| what | ours | against | roof | ratio | wanted | met |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in figures:
        text = {
            name: number(row[name]["median"] if row[name] else None)
            for name in ("ours", "against", "roof", "ratio")
        }
        sign = "≤" if row["at_most"] else "≥"
        met = "yes" if row["met"] else "**no**"
        if row["other_cores"]["median"] > QUIET_CORES:
            met += " (not quiet)"
        against = f"{text['against']} {row['ratio_of']}".strip()
        lines.append(
            f"| {row['what']} | {text['ours']} {row['unit']} | {against} | "
            f"{text['roof']} | {text['ratio']} | "
            f"{sign} {number(row['wanted'])} | {met} |"
        )
    return "\n".join(lines)
