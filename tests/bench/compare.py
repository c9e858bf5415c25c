#!/usr/bin/env python3
"""Makes the speed table: winnow beside llama.cpp and the machine's roofs.

    tests/bench/compare.py --winnow build/release/services/winnow
    tests/bench/compare.py --winnow W --rows speed --alternations 1
    tests/bench/compare.py --winnow W --rows speed --llama-from FILE.json
    tests/bench/compare.py --winnow W --quick

Prints the table as Markdown and writes tests/bench/results/speed_DATE.json (or
--out).  Rows come in sections: speed (prefill, decode, compaction), eight,
attention, processes, pull, start (and memory).  llama.cpp is built on the first
run; see llamacpp.py.  Figures are medians of --alternations, each side first by
turns; a piece is measured again while others are busy.

--merge FILE takes the rows that are not measured now from an earlier run.
"""
import argparse
import datetime
import json
import pathlib
import subprocess
import sys

import llamacpp
import machine
import speed_measure
import speed_rows
import speed_sections

HERE = pathlib.Path(__file__).resolve().parent
ALIASES = {  # rows that come out of another's measurement
    "prefill": "speed",
    "decode": "speed",
    "compaction": "speed",
    "memory": "start",
}


def flags():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--winnow", required=True, help="program to measure")
    llamacpp.add_job_flags(parser)
    parser.add_argument(
        "--rows",
        default=",".join(speed_sections.SECTIONS),
        help="sections, with commas (default: %(default)s)",
    )
    parser.add_argument("--alternations", type=int, default=5)
    parser.add_argument("--window", type=int, default=256, help="of razor")
    parser.add_argument("--wait-quiet", type=float, default=20, help="seconds")
    parser.add_argument(
        "--tries", type=int, default=3, help="of a piece, while others are busy"
    )
    parser.add_argument("--lock", help="file locked during every piece")
    parser.add_argument("--no-llama", dest="llama", action="store_false")
    parser.add_argument("--llama-from", help="take llama.cpp's from this JSON")
    parser.add_argument("--merge", help="JSON with rows to keep")
    parser.add_argument("--out", help="JSON to write")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small sizes, once: shows that it works, not how fast",
    )
    return parser


def checked(parser):
    options = parser.parse_args()
    named = (ALIASES.get(name, name) for name in options.rows.split(","))
    options.rows = list(dict.fromkeys(named))
    unknown = set(options.rows) - set(speed_sections.SECTIONS)
    if unknown:
        parser.error(
            f"no section {', '.join(sorted(unknown))}; "
            f"there are {', '.join(speed_sections.SECTIONS)}"
        )
    for path in (options.winnow, options.model):
        if not pathlib.Path(path).is_file():
            parser.error(f"{path} is no file")
    options.winnow = str(pathlib.Path(options.winnow).resolve())
    if options.alternations < 1 or options.tries < 1:
        parser.error("--alternations and --tries must be at least 1")
    if options.quick:
        options.alternations, options.tries, options.wait_quiet = 1, 1, 0
        options.generate = min(options.generate, 4)
    return options


def earlier_run(path):
    """What an earlier run wrote; ends if that was on another CPU."""
    earlier = json.loads(pathlib.Path(path).read_text())
    if earlier["cpu"] != machine.cpu_model():
        sys.exit(f"{path} is of another CPU: {earlier['cpu']}")
    return earlier


def today():
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


class EarlierLlama(speed_measure.Bench):
    """llama.cpp's figures out of an earlier run's file."""

    def __init__(self, options):
        super().__init__(options)
        earlier = earlier_run(options.llama_from)
        self._figures = earlier["llama_cpp"]
        self.settings.update(earlier["llama_cpp_flash_attention"])
        self.llama_date = earlier["llama_cpp_date_utc"]

    def llama_best(self, context, figures, sequences=1):
        found = {}
        for figure in figures:
            key = speed_measure.figure_key(figure, context, sequences)
            if key not in self._figures:
                sys.exit(f"{self.options.llama_from} has no {key}")
            found[figure] = (self._figures[key]["median"], 0.0)
            self.record(key, found[figure][0])
        return found


def commit():
    """Of the tree that this script is in; None outside of one."""
    done = subprocess.run(
        ["git", "-C", HERE, "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or None


def report(bench, sizes, samples, sections):
    options = bench.options
    return {
        "date_utc": today(),
        "cpu": machine.cpu_model(),
        "cores": machine.usable_cores(),
        "threads": options.threads,
        "model": pathlib.Path(options.model).name,
        "peer": f"{llamacpp.PACKAGE}, {options.backend}",
        "quick": options.quick,
        "sections": sections,
        "table": speed_rows.table(speed_sections.rows_of(sizes), samples),
        "llama_cpp": bench.llama_figures(),
        "llama_cpp_date_utc": bench.llama_date or today(),
        "llama_cpp_flash_attention": bench.settings,
        "samples": samples,
    }


def measure(bench, sizes):
    """Samples of all rows, and when each section was measured."""
    samples, sections = {}, {}
    if bench.options.merge:
        earlier = earlier_run(bench.options.merge)
        samples.update(earlier["samples"])
        sections.update(earlier["sections"])
        bench.keep(earlier)
    for section in bench.options.rows:
        samples.update(speed_sections.SECTIONS[section](bench, sizes))
        sections[section] = {"date_utc": today(), "commit": commit()}
    return samples, sections


def main():
    options = checked(flags())
    sizes = speed_sections.QUICK if options.quick else speed_sections.Sizes()
    make = EarlierLlama if options.llama_from else speed_measure.Bench
    bench = make(options)
    made = report(bench, sizes, *measure(bench, sizes))
    out = pathlib.Path(
        options.out or HERE / "results" / f"speed_{made['date_utc']}.json"
    )
    out.write_text(json.dumps(made, indent=2) + "\n")
    print(
        f"{made['date_utc']}, {made['cores']} cores of {made['cpu']}, "
        f"{made['model']}, {made['peer']}\n"
    )
    print(speed_rows.markdown(made["table"]))


if __name__ == "__main__":
    main()
