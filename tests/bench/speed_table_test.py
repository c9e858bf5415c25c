"""The speed table is computed as it says, from canned figures; no timing."""
import unittest

import speed_rows
import speed_samples
import speed_sections


def spread(value):
    return {"median": value, "min": value, "max": value}


def engine_row(context, policy, prefill, decode):
    return {
        "context_tokens": context,
        "policy": {"name": policy},
        "prefill_tokens_per_s": spread(prefill),
        "prefill_roof_tokens_per_s": 10000.0,
        "compaction_share": spread(0.004),
        "decode_tokens_per_s": spread(decode),
        "decode_roof_tokens_per_s": 400.0,
    }


def sample(ratio, others=0.0, **more):
    return {
        "ours": ratio * 10,
        "against": 10,
        "roof": None,
        "ratio": ratio,
        "other_cores": others,
        "rounds": 1,
        **more,
    }


class TableTest(unittest.TestCase):
    def rowOf(self, samples, key="decode/full/512", **more):
        rows = speed_sections.rows_of(speed_sections.Sizes())
        table = speed_rows.table(rows, {key: samples, **more})
        return next(row for row in table if row["key"] == key)

    def testFiguresAreMediansAndTheRatioIsThatOfTheAlternations(self):
        row = self.rowOf(
            [
                sample(1.0, ours=100, against=100),
                sample(1.8, ours=180, against=100),
                sample(1.6, ours=320, against=200),
            ]
        )
        self.assertEqual(row["ours"], {"median": 180, "min": 100, "max": 320})
        self.assertEqual(row["against"]["median"], 100)
        self.assertEqual(row["ratio"], {"median": 1.6, "min": 1.0, "max": 1.8})
        self.assertEqual(row["alternations"], 3)
        self.assertTrue(row["met"])

    def testARowBelowWhatIsWantedIsNotMet(self):
        self.assertFalse(self.rowOf([sample(1.49)])["met"])
        self.assertTrue(self.rowOf([sample(1.5)])["met"])

    def testTimesMustNotBeAboveWhatIsWanted(self):
        key = "processes/full/inter_token"
        self.assertTrue(self.rowOf([sample(1.03)], key)["met"])
        self.assertFalse(self.rowOf([sample(1.04)], key)["met"])

    def testTheSlowerSideOfARatioMustMeetItsOwnRow(self):
        key, side = "attention/16_over_4", "attention/16"
        met = self.rowOf([sample(1.1)], key, **{side: [sample(0.8)]})
        missed = self.rowOf([sample(1.1)], key, **{side: [sample(0.7)]})
        self.assertTrue(met["met"])
        self.assertFalse(missed["met"])
        self.assertEqual(missed["missed_needs"], [side])
        self.assertFalse(self.rowOf([sample(1.1)], key)["met"])

    def testRowsWithoutSamplesAreLeftOut(self):
        rows = speed_sections.rows_of(speed_sections.Sizes())
        self.assertEqual(speed_rows.table(rows, {"start": []}), [])

    def testEveryRowHasAKeyOfItsOwn(self):
        keys = [r.key for r in speed_sections.rows_of(speed_sections.Sizes())]
        self.assertEqual(len(keys), len(set(keys)))

    def testMarkdownSaysWhatIsMissedAndWhatWasNotQuiet(self):
        row = self.rowOf([sample(1.234, 0.5)])
        line = speed_rows.markdown([row]).splitlines()[-1]
        self.assertEqual(
            line,
            "| decode, full, 512 tokens | 12.3 tokens/s | 10 llama.cpp |  | "
            "1.23 | ≥ 1.5 | **no** (not quiet) |",
        )


class SamplesTest(unittest.TestCase):
    def testPrefillAndDecodeStandBesideLlamaOfTheSameContext(self):
        report = {
            "engine": [
                engine_row(512, "full", 2000, 150),
                engine_row(512, "razor", 2100, 160),
            ]
        }
        llama = {
            512: {
                "prefill_tokens_per_s": (500, 0.02),
                "decode_tokens_per_s": (100, 0.3),
            }
        }
        samples = speed_samples.engine_samples(report, 0.1, llama)
        prefill = samples["prefill/512"]
        self.assertEqual(prefill["ratio"], 4)
        self.assertEqual(prefill["roof"], 10000)
        self.assertEqual(prefill["other_cores"], 0.1)
        self.assertEqual(samples["decode/full/512"]["ratio"], 1.5)
        self.assertEqual(samples["decode/razor/512"]["ratio"], 1.6)
        self.assertEqual(samples["decode/razor/512"]["other_cores"], 0.3)
        compaction = samples["compaction/512"]  # of 512 / 2,100 s
        self.assertEqual(compaction["ratio"], 0.004)
        self.assertAlmostEqual(compaction["ours"], 512 / 2.1 * 0.004)

    def testWithoutLlamaOnlyCompactionIsLeft(self):
        report = {"engine": [engine_row(512, "razor", 2100, 160)]}
        samples = speed_samples.engine_samples(report, 0, None)
        self.assertEqual(list(samples), ["compaction/512"])

    def testSequencesAtOnceAreComparedWithFullAndWithLlama(self):
        def batch(policy, rate, mean=8):
            return {
                "policy": {"name": policy},
                "sequences": 8,
                "mean_batch": mean,
                "decode_tokens_per_s": spread(rate),
                "decode_roof_tokens_per_s": 1000,
            }

        report = {"batch": [batch("full", 200), batch("razor", 500)]}
        samples = speed_samples.eight_samples(report, 0, (100, 0))
        self.assertEqual(samples["eight/full"]["ratio"], 2.5)
        self.assertEqual(samples["eight/llama"]["ratio"], 5)
        report["batch"][0] = batch("full", 200, mean=7.9)
        with self.assertRaises(RuntimeError):
            speed_samples.eight_samples(report, 0, (100, 0))

    def testAttentionIsAShareOfTheRoofAndTimesAreRatios(self):
        def group(number, rate):
            return {
                "group": number,
                "read_bytes": 1_000_000_000,
                "ragged_bytes_per_s": spread(rate * 1e9),
                "equal_bytes_per_s": spread(40e9),
                "razor_bytes_per_s": spread(20e9),
                "razor_equal_bytes_per_s": spread(25e9),
                "ragged_equal_time_ratio": spread(1.02),
                "razor_equal_time_ratio": spread(1.25),
                "roof_bytes_per_s": 40e9,
            }

        rates = {1: 30, 2: 32, 3: 33, 4: 36, 8: 35, 16: 30}
        report = {"attention": [group(*item) for item in rates.items()]}
        samples = speed_samples.attention_samples(report, 0)
        self.assertEqual(samples["attention/1"]["ratio"], 0.75)
        self.assertAlmostEqual(samples["attention/16_over_4"]["ratio"], 1.2)
        self.assertEqual(samples["equal/ragged"]["ratio"], 1.02)
        self.assertEqual(samples["equal/razor"]["ratio"], 1.25)
        self.assertEqual(samples["equal/razor"]["ours"], 20)
        self.assertEqual(samples["equal/razor"]["against"], 25)

    def testPullsAreNamedByTheSizeAskedFor(self):
        report = {
            "repeats": 5,
            "transfer": [
                {
                    "socket": "unix",
                    "context_bytes": (64 << 20) - 1000,
                    "pull_bytes_per_s": spread(3 << 30),
                    "raw_bytes_per_s": spread(5 << 30),
                    "pull_raw_share": spread(0.61),
                }
            ],
        }
        samples = speed_samples.pull_samples(report, 0)
        (found,) = samples[f"pull/unix/{64 << 20}"]
        self.assertEqual((found["ratio"], found["rounds"]), (0.61, 5))
        self.assertEqual(found["ours"], 3 << 10)

    def testProcessesTakeTheRatiosOfTheRounds(self):
        keys = ("second_token", "total", "inter_token")
        times = {f"{key}_ms": spread(10.0) for key in keys}
        report = {
            "rounds": 5,
            "answers": [
                {
                    "policy": "razor,min_length=0",
                    "one_process": times,
                    "split": times,
                    "second_token_ratio": spread(1.01),
                    "total_ratio": spread(1.02),
                    "inter_token_ratio": spread(1.03),
                }
            ],
        }
        samples = speed_samples.process_samples(report, 0)
        (total,) = samples["processes/razor/total"]
        self.assertEqual((total["ratio"], total["rounds"]), (1.02, 5))


if __name__ == "__main__":
    unittest.main()
