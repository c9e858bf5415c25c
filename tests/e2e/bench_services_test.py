"""`winnow bench transfer` and `winnow bench serve`, at their smallest."""
import json
import os
import pathlib

import winnow_cli

SPREAD = {"median", "min", "max"}


def started_by(folder):
    """Processes whose command line names `folder`."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(folder) in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass  # it ended in between
    return found


class BenchServicesTest(winnow_cli.WinnowTest):
    def bench(self, *arguments):
        """Runs a benchmark; returns its object, the same as in its file."""
        out = self.folder / "out.json"
        printed = json.loads(
            self.run_ok("bench", *arguments, "--json", "--out", out)
        )
        self.assertEqual(printed, json.loads(out.read_text()))
        self.assertEqual(started_by(self.work), [])
        self.assertEqual(list(self.work.iterdir()), [])
        return printed

    def expect_spread(self, spread):
        self.assertEqual(set(spread), SPREAD)
        self.assertGreater(spread["min"], 0)
        self.assertLessEqual(spread["min"], spread["median"])
        self.assertLessEqual(spread["median"], spread["max"])

    def testTransferStandsBesideItsRoof(self):
        figures = self.bench("transfer", "--quick", "--rounds", "3")
        self.assertEqual(figures["repeats"], 3)
        transfers = figures["transfer"]
        self.assertEqual(
            [transfer["socket"] for transfer in transfers],
            ["unix", "tcp"] * 2,
        )
        self.assertEqual(
            figures["compared_bytes"],
            sum(transfer["context_bytes"] for transfer in transfers),
        )
        for transfer in transfers:
            for kind in ("raw", "checked_raw", "write", "pull"):
                self.expect_spread(transfer[f"{kind}_bytes_per_s"])
            for kind in ("write_raw", "pull_raw", "pull_checked_raw"):
                self.expect_spread(transfer[f"{kind}_share"])
            # Every repeat's share lies between the extremes of both rates.
            pull, raw = (
                transfer["pull_bytes_per_s"],
                transfer["raw_bytes_per_s"],
            )
            share = transfer["pull_raw_share"]
            self.assertGreaterEqual(
                share["min"] * 1.0001, pull["min"] / raw["max"]
            )
            self.assertLessEqual(
                share["max"], pull["max"] / raw["min"] * 1.0001
            )

    def testServeComparesOneProcessWithOneForEachRole(self):
        figures = self.bench(
            *("serve", "--quick", "--rounds", "1"),
            *("--model", winnow_cli.MODEL),
        )
        answers = figures["answers"]
        self.assertEqual(
            [answer["policy"].split(",")[0] for answer in answers],
            ["razor", "full"],
        )
        for answer in answers:
            self.assertGreater(answer["context_tokens"], 200)
            for side in ("one_process", "split"):
                first, second, total = (
                    answer[side][name]["median"]
                    for name in ("first_token_ms", "second_token_ms", "total_ms")
                )
                self.assertLess(0, first)
                self.assertLess(first, second)
                self.assertLess(second, total)
                self.expect_spread(answer[side]["pull_ms"])
                self.expect_spread(answer[side]["write_ms"])
            self.assertAlmostEqual(  # one round: its ratio is the medians'
                answer["total_ratio"]["median"],
                answer["split"]["total_ms"]["median"]
                / answer["one_process"]["total_ms"]["median"],
            )
        streams = figures["streams"]
        self.assertEqual(streams["streams"], 2)
        self.expect_spread(streams["together_tokens_per_s"])
        idle = figures["idle_connections"]
        self.assertEqual(idle["connections"], 20)
        self.assertGreater(idle["resident_before_bytes"], 0)
        held = figures["held_streams"]
        self.assertEqual(held["streams"], 10)
        self.assertEqual(
            held["completed"] + sum(held["refused"].values()), 10
        )
        self.assertEqual(held["completed"], 10)
        self.assertLessEqual(held["accepted_together"], 10)
        self.assertGreaterEqual(
            held["resident_peak_bytes"], held["resident_before_bytes"] // 2
        )

    def testAnswersAloneComeWithoutStreams(self):
        figures = self.bench(
            *("serve", "--quick", "--rounds", "1", "--answers-only"),
            *("--model", winnow_cli.MODEL),
        )
        self.assertEqual(len(figures["answers"]), 2)
        for name in ("streams", "idle_connections", "held_streams"):
            self.assertNotIn(name, figures)

    def testAModelThatIsNotThereEndsEverything(self):
        out = self.run_winnow("bench", "serve", "--quick", "--model", "none.gguf")
        self.assertNotEqual(out.code, 0)
        self.assertIn("none.gguf", out.err)
        self.assertEqual(started_by(self.work), [])
        self.assertEqual(list(self.work.iterdir()), [])

    def testWithoutACommandItIsTheEngine(self):
        plain = self.run_winnow("bench", "--sections", "gpu")
        named = self.run_winnow("bench", "engine", "--sections", "gpu")
        self.assertEqual(plain.code, 2)
        self.assertEqual((plain.code, plain.err), (named.code, named.err))


if __name__ == "__main__":
    winnow_cli.main()
