"""From one report of a measurement to samples of the speed table's rows.

Pure: what a sample is stands in speed_rows.py, what is measured in
speed_sections.py.
"""
import speed_rows


def sample(ours, against, others, roof=None, ratio=None, rounds=1):
    return {
        "ours": ours,
        "against": against,
        "roof": roof,
        "ratio": ours / against if ratio is None else ratio,
        "other_cores": others,
        "rounds": rounds,
    }


def median(figure):
    return figure["median"]


def engine_samples(report, others, llama):
    """Of one `winnow bench engine --sections engine`.

    `llama` is {context: {figure: (value, others)}}, or None: our own figures
    alone, which only compaction can be told from.
    """
    samples = {}
    for figures in report["engine"]:
        context = figures["context_tokens"]
        policy = figures["policy"]["name"]
        prefill = median(figures["prefill_tokens_per_s"])
        if policy == "razor":
            share = median(figures["compaction_share"])
            ms = 1e3 * context / prefill
            samples[f"compaction/{context}"] = sample(
                share * ms, ms, others, ratio=share
            )
        if llama is None:
            continue
        if policy == "full":
            value, peers = llama[context]["prefill_tokens_per_s"]
            samples[f"prefill/{context}"] = sample(
                prefill,
                value,
                max(others, peers),
                figures["prefill_roof_tokens_per_s"],
            )
        value, peers = llama[context]["decode_tokens_per_s"]
        samples[f"decode/{policy}/{context}"] = sample(
            median(figures["decode_tokens_per_s"]),
            value,
            max(others, peers),
            figures["decode_roof_tokens_per_s"],
        )
    return samples


def eight_samples(report, others, llama):
    """`llama` is (tokens/s, others) or None."""
    by_policy = {each["policy"]["name"]: each for each in report["batch"]}
    for each in by_policy.values():
        if each["mean_batch"] < each["sequences"]:
            raise RuntimeError("the sequences did not step together")
    razor, full = by_policy["razor"], by_policy["full"]
    ours = median(razor["decode_tokens_per_s"])
    roof = razor["decode_roof_tokens_per_s"]
    samples = {
        "eight/full": sample(
            ours, median(full["decode_tokens_per_s"]), others, roof
        )
    }
    if llama is not None:
        samples["eight/llama"] = sample(
            ours, llama[0], max(others, llama[1]), roof
        )
    return samples


def attention_samples(report, others):
    by_group = {each["group"]: each for each in report["attention"]}
    samples = {}
    for group in speed_rows.GROUPS:
        rate = median(by_group[group]["ragged_bytes_per_s"]) / 1e9
        roof = by_group[group]["roof_bytes_per_s"] / 1e9
        samples[f"attention/{group}"] = sample(rate, roof, others, roof)

    def ms(group):
        rate = median(by_group[group]["ragged_bytes_per_s"])
        return 1e3 * by_group[group]["read_bytes"] / rate

    samples["attention/16_over_4"] = sample(ms(16), ms(4), others)
    # The model's own group, which comes beside those of the table.
    own = next((g for g in by_group if g not in speed_rows.GROUPS), 4)
    for kind, equal in (("ragged", "equal"), ("razor", "razor_equal")):
        figures = by_group[own]
        samples[f"equal/{kind}"] = sample(
            median(figures[f"{kind}_bytes_per_s"]) / 1e9,
            median(figures[f"{equal}_bytes_per_s"]) / 1e9,
            others,
            ratio=median(figures[f"{kind}_equal_time_ratio"]),
        )
    return samples


def process_samples(report, others):
    """The tool alternates by itself: its medians become one sample."""
    samples = {}
    for answer in report["answers"]:
        policy = answer["policy"].split(",")[0]
        for key in ("second_token", "total", "inter_token"):
            samples[f"processes/{policy}/{key}"] = [
                sample(
                    median(answer["split"][f"{key}_ms"]),
                    median(answer["one_process"][f"{key}_ms"]),
                    others,
                    ratio=median(answer[f"{key}_ratio"]),
                    rounds=report["rounds"],
                )
            ]
    return samples


def pull_samples(report, others):
    samples = {}
    for each in report["transfer"]:
        # Contexts are of whole segments: a little less than was asked for.
        mebibytes = -(-each["context_bytes"] >> 20)
        samples[f"pull/{each['socket']}/{mebibytes << 20}"] = [
            sample(
                median(each["pull_bytes_per_s"]) / (1 << 20),
                median(each["raw_bytes_per_s"]) / (1 << 20),
                others,
                ratio=median(each["pull_raw_share"]),
                rounds=report["repeats"],
            )
        ]
    return samples
