"""`winnow profile`: the shipped profile comes out of the shipped ids again."""
import itertools
import json

import winnow_cli

IDS = winnow_cli.GOLDEN / "smollm2" / "profile_500x4.json"
SCORES = winnow_cli.GOLDEN / "smollm2" / "profile_scores.json"
SAME_PROGRAM_TOLERANCE = 1e-5
REFERENCE_TOLERANCE = 1e-4


def flat(rows):
    return list(itertools.chain.from_iterable(rows))


class ProfileCommandTest(winnow_cli.WinnowTest):
    def expect_near(self, actual, expected, tolerance):
        self.assertEqual(len(actual), len(expected))
        largest = max(abs(a - e) for a, e in zip(actual, expected))
        self.assertLessEqual(largest, tolerance)

    def testReproducesTheShippedProfile(self):
        path = self.folder / "profile.json"
        said = self.run_ok(
            *("profile", "--model", winnow_cli.MODEL, "--out", path),
            *("--ids-file", IDS, "--block", "500"),
        )
        self.assertIn("23 of 90 KV heads", said)
        made = json.loads(path.read_text())
        shipped = json.loads(winnow_cli.SHIPPED_PROFILE.read_text())
        for name in ("echo", "induction"):
            scores = [flat(profile.pop(name)) for profile in (made, shipped)]
            self.expect_near(*scores, SAME_PROGRAM_TOLERANCE)
            self.expect_near(
                scores[0],
                flat(json.loads(SCORES.read_text())[name]),
                REFERENCE_TOLERANCE,
            )
        for profile in (made, shipped):
            del profile["digest"]  # that of the scores, to the last bit
        self.assertEqual(made, shipped)
        golden = json.loads(IDS.read_text())
        self.assertEqual(made["retrieval"], golden["retrieval_kv_heads"])

    def tiny_profile(self, name, seed):
        path = self.folder / name
        self.run_ok(
            *("profile", "--model", winnow_cli.TINY_LLAMA, "--out", path),
            *("--block", "50", "--seed", str(seed)),
        )
        return path.read_text()

    def testSameSeedGivesTheSameFile(self):
        first = self.tiny_profile("first.json", seed=3)
        self.assertEqual(first, self.tiny_profile("again.json", seed=3))
        self.assertNotEqual(first, self.tiny_profile("other.json", seed=4))

    def testProfileServesTheModelThatItWasMadeFor(self):
        model = self.tiny_model()
        path = self.folder / "tiny.json"
        self.run_ok(
            *("profile", "--model", model, "--out", path, "--block", "50")
        )
        result = json.loads(
            self.run_ok(
                *("generate", "--model", model, "--profile", path, "--raw"),
                *("--policy", "razor,window=64,min_length=0", "--json"),
                *("--prompt", "a" * 300, "--max-tokens", "4"),
            )
        )
        heads = len(json.loads(path.read_text())["retrieval"])
        self.assertGreater(heads, 0)
        self.assertEqual(result["policy"]["retrieval_heads"], heads)
        self.assertEqual(result["prompt_tokens"], 300)


if __name__ == "__main__":
    winnow_cli.main()
