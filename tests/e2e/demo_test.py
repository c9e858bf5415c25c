"""The demo: a number hidden in licence text, asked for under three policies.

The ids are those of an independent implementation in float32, from
tests/golden/smollm2/demo.json.
"""
import json
import subprocess
import sys

import winnow_cli

GOLDEN = json.loads((winnow_cli.GOLDEN / "smollm2/demo.json").read_text())
NUMBER = "4913726"
RAZOR_SHARE = 0.35  # of the full cache; the reference keeps 33.8 %
QUESTION = (
    "What is the special magic number for Oslo mentioned in the provided text?"
)


class DemoAnswerTest(winnow_cli.WinnowTest):
    def answer(self, policy, *options):
        context = self.folder / "context.txt"
        subprocess.run(
            [
                sys.executable,
                winnow_cli.ROOT / "deploy" / "make-demo-context",
                context,
            ],
            check=True,
        )
        result = self.run_json(
            "generate",
            *("--system", "You are a helpful AI assistant."),
            *("--context-file", context, "--prompt", QUESTION),
            *("--max-tokens", "20", "--policy", policy),
            *options,
        )
        self.assertEqual(
            result["context_tokens"], GOLDEN["context_tokens_with_header"]
        )
        self.assertEqual(
            result["prompt_tokens"],
            GOLDEN["context_tokens_with_header"] + len(GOLDEN["question_ids"]),
        )
        return result

    def expect_golden_ids(self, policy, *options):
        result = self.answer(policy, "--numerics", "float32", *options)
        golden = GOLDEN["policies"][policy]
        self.assertEqual(result["token_ids"], golden["greedy_ids"])
        self.assertEqual(result["text"], golden["text"])

    def testFullEqualsTheReference(self):
        self.expect_golden_ids("full")

    def testRazorEqualsTheReference(self):
        self.expect_golden_ids("razor,window=256")

    def testStreamingEqualsTheReference(self):
        # Its answer is a guess, so it needs the reference's KV precision.
        self.expect_golden_ids("streaming,window=1024", "--kv-dtype", "f32")

    def testFastFullFindsTheNumber(self):
        self.assertIn(NUMBER, self.answer("full")["text"])

    def testFastRazorFindsTheNumberIn35PercentOfTheBytes(self):
        result = self.answer("razor,window=256")
        self.assertIn(NUMBER, result["text"])
        self.assertEqual(result["policy"]["retrieval_heads"], 23)
        kv = result["kv"]
        self.assertLessEqual(kv["stored_bytes"], RAZOR_SHARE * kv["full_bytes"])

    def testTheOldestInstructionSetFindsTheNumber(self):
        result = self.answer("razor,window=256", "--cpu-level", "avx2")
        self.assertIn(NUMBER, result["text"])

    def testFastStreamingDoesNotFindTheNumber(self):
        self.assertNotIn(NUMBER, self.answer("streaming,window=1024")["text"])


if __name__ == "__main__":
    winnow_cli.main()
