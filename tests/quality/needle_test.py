"""Do compacted caches still find what they were not told to look for?

Numbers hidden in other documents than the demo's; the question comes after the
cache was made.  `winnow score` rates the digits one by one: a number is found
if each of its digits is the likeliest token.

Shares of bytes count segments with their headers and padding.
"""
import collections

import needles
import winnow_cli

# About the bytes of razor, or fewer.
STREAMING = "streaming,window=768"
DIGIT_ZERO = 32  # token id; the others follow


class Tally:
    """What one policy found."""

    def __init__(self):
        self.found = collections.Counter()  # by depth
        self.asked = collections.Counter()
        self.full_bytes = 0
        self.stored_bytes = 0
        self.log_probability = 0.0
        self.digits = 0

    def add(self, needle, score):
        digits = score["tokens"][-len(needle.number) :]
        self.asked[needle.depth] += 1
        self.found[needle.depth] += all(token["greedy"] for token in digits)
        self.full_bytes += score["kv"]["full_bytes"]
        self.stored_bytes += score["kv"]["stored_bytes"]
        self.log_probability += sum(token["logprob"] for token in digits)
        self.digits += len(digits)

    @property
    def total(self):
        return sum(self.found.values())

    @property
    def share(self):
        return self.stored_bytes / self.full_bytes

    def row(self, policy):
        depths = "".join(
            f"{self.found[depth]:>4}/{self.asked[depth]}"
            for depth in needles.DEPTHS
        )
        return (
            f"{policy:30}{self.total:>4}/{sum(self.asked.values())}{depths}"
            f"{100 * self.share:7.1f} %"
            f"{-self.log_probability / self.digits:8.3f}"
        )


class NeedleTest(winnow_cli.WinnowTest):
    def score(self, needle, policy):
        context = self.file("context.txt", needle.context)
        score = self.run_json(
            "score",
            *("--system", "You are a helpful AI assistant."),
            *("--context-file", context, "--prompt", needle.question),
            *("--answer", needle.answer, "--policy", policy),
        )
        self.assertGreaterEqual(score["context_tokens"], 2000)
        self.assertLessEqual(score["context_tokens"], 3000)
        rated = [token["id"] for token in score["tokens"]]
        self.assertEqual(
            rated[-len(needle.number) :],
            [DIGIT_ZERO + int(digit) for digit in needle.number],
        )
        return score

    def tally(self, cases, policies):
        """Scores every case under every policy; prints a table.

        `policies` maps names to functions from the case's index to a policy.
        """
        depths = "".join(f"{depth:>6.0%}" for depth in needles.DEPTHS)
        print(f"\n{'policy':30}{'found':>7}{depths}{'bytes':>9}{'nll':>8}")
        tallies = {}
        for name, policy in policies.items():
            tallies[name] = Tally()
            for index, needle in enumerate(cases):
                tallies[name].add(needle, self.score(needle, policy(index)))
            print(tallies[name].row(name), flush=True)
        return tallies

    def expect_razor_as_good_as_full(self, tallies, asked):
        full, razor = tallies["full"], tallies["razor"]
        self.assertGreaterEqual(full.total, 0.8 * asked)
        self.assertGreaterEqual(razor.total, full.total - 1)
        self.assertLessEqual(razor.share, 0.40)

    def expect_clearly_fewer(self, tallies, *names):
        for name in names:
            with self.subTest(policy=name):
                self.assertLessEqual(
                    tallies[name].total, tallies["full"].total / 2
                )
                self.assertLessEqual(
                    tallies[name].share, tallies["razor"].share + 0.01
                )


class FiveNeedlesTest(NeedleTest):
    def testRazorFindsWhatFullFindsAndStreamingDoesNot(self):
        cases = needles.make_needles()[: len(needles.DEPTHS)]
        tallies = self.tally(
            cases,
            {
                "full": lambda _: "full",
                "razor": lambda _: "razor",
                "streaming": lambda _: STREAMING,
            },
        )
        self.expect_razor_as_good_as_full(tallies, len(cases))
        self.expect_clearly_fewer(tallies, "streaming")


class TwentyNeedlesTest(NeedleTest):
    def testRazorFindsWhatFullFindsAndItsAblationsDoNot(self):
        cases = needles.make_needles()
        tallies = self.tally(
            cases,
            {
                "full": lambda _: "full",
                "razor": lambda _: "razor",
                "induction only": lambda _: "razor,echo=off",
                "random heads": lambda index: f"razor,random_heads={index}",
                "streaming": lambda _: STREAMING,
            },
        )
        self.expect_razor_as_good_as_full(tallies, len(cases))
        self.expect_clearly_fewer(
            tallies, "induction only", "random heads", "streaming"
        )


if __name__ == "__main__":
    winnow_cli.main()
