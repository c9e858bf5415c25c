"""How the tool that makes the speed table runs; no timing."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
from types import SimpleNamespace

import compare
import machine
import speed_measure
import speed_sections

HERE = pathlib.Path(__file__).resolve().parent


def spread(value):
    return {"median": value, "min": value, "max": value}


class FakeLlama(speed_measure.Bench):
    """Prefill is better with flash attention, decode without."""

    def __init__(self):
        super().__init__(SimpleNamespace(llama=True, alternations=4))
        self.calls = []

    def llama(self, context, flash, sequences=1):
        self.calls.append(flash)
        rate = 2 if flash else 1
        row = {
            "prefill_tokens_per_s": spread(rate),
            "decode_tokens_per_s": spread(10 / rate),
        }
        return row, 0.0


class LlamaTest(unittest.TestCase):
    def testEachFigureHasItsOwnBestSettingFromTheFirstCallOn(self):
        bench = FakeLlama()
        both = ("prefill_tokens_per_s", "decode_tokens_per_s")
        for _ in range(2):
            best = bench.llama_best(512, both)
            self.assertEqual(best[both[0]], (2, 0.0))
            self.assertEqual(best[both[1]], (10, 0.0))
        self.assertEqual(len(bench.calls), 4)
        bench.calls.clear()
        for _ in range(2):
            bench.llama_best(4096, both[1:])
        self.assertEqual(bench.calls, [True, False, False])
        figures = bench.llama_figures()
        self.assertEqual(figures["decode_tokens_per_s/512x1"]["median"], 10)

    def testFiguresOfAnEarlierRunStandInForIts(self):
        key = "decode_tokens_per_s/512x1"
        earlier = {
            "cpu": machine.cpu_model(),
            "llama_cpp": {key: spread(70.5)},
            "llama_cpp_flash_attention": {key: False},
            "llama_cpp_date_utc": "2026-01-31",
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(json.dumps(earlier))
            file.flush()
            bench = compare.EarlierLlama(SimpleNamespace(llama_from=file.name))
        figure = "decode_tokens_per_s"
        self.assertEqual(bench.llama_best(512, (figure,))[figure], (70.5, 0))
        self.assertEqual(bench.llama_figures(), {key: spread(70.5)})
        self.assertEqual(bench.llama_date, "2026-01-31")

    def testFiguresOfAnotherCpuAreRefused(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write('{"cpu": "Z80"}')
            file.flush()
            with self.assertRaisesRegex(SystemExit, "Z80"):
                compare.earlier_run(file.name)

    def testEachSideIsFirstByTurns(self):
        order = []
        samples = speed_sections.alternate(
            FakeLlama(),
            lambda: order.append("ours") or 1,
            lambda: order.append("theirs") or 2,
            lambda ours, theirs: {"key": (ours, theirs)},
        )
        self.assertEqual(order, ["ours", "theirs", "theirs", "ours"] * 2)
        self.assertEqual(samples["key"], [(1, 2)] * 4)


class CompareTest(unittest.TestCase):
    def run_compare(self, *arguments):
        return subprocess.run(
            [sys.executable, "-B", HERE / "compare.py", "--quick"]
            + ["--winnow", os.environ["WINNOW_BINARY"], "--no-llama"]
            + list(arguments),
            capture_output=True,
            text=True,
        )

    def testAPartOfTheTableIsMeasuredAndTheRestKept(self):
        with tempfile.TemporaryDirectory() as folder:
            first, second = f"{folder}/1.json", f"{folder}/2.json"
            done = self.run_compare("--rows", "attention", "--out", first)
            self.assertEqual(done.returncode, 0, done.stderr)
            done = self.run_compare(
                *("--rows", "memory", "--merge", first, "--out", second)
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            made = json.loads(pathlib.Path(second).read_text())
        keys = {row["key"] for row in made["table"]}
        self.assertIn("attention/16", keys)
        self.assertIn("start", keys)
        self.assertIn("memory", keys)
        self.assertEqual(set(made["sections"]), {"attention", "start"})
        self.assertIn("winnow serve, start to ready", done.stdout)

    def testSectionsThatAreNotThereAreNamed(self):
        done = self.run_compare("--rows", "speed,gpu")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no section gpu", done.stderr)


if __name__ == "__main__":
    unittest.main()
