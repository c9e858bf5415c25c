"""The JSON of `winnow generate` and `winnow score`, and sampling options."""
import math

import winnow_cli

# Short, but with local heads that drop tokens: five blocks before the prompt.
RAZOR = "razor,window=64,min_length=0"
PROMPT = "Write one sentence about the sea."
SEEDS = (1, 2, 3)
LOG_PROBABILITY_TOLERANCE = 1e-4


def context_text():
    return " ".join(
        f"Ship number {index} left the harbour at {index % 12} o'clock."
        for index in range(30)
    )


class JsonTest(winnow_cli.WinnowTest):
    def with_context(self):
        path = self.file("context.txt", context_text())
        return ("--context-file", path, "--policy", RAZOR)

    def generate(self, *options, prompt=PROMPT, max_tokens=8):
        return self.run_json(
            "generate",
            *("--prompt", prompt, "--max-tokens", str(max_tokens)),
            *options,
        )

    def score(self, answer, *options, prompt=PROMPT):
        return self.run_json(
            "score", "--prompt", prompt, "--answer", answer, *options
        )

    def expect_shape(self, value, shape):
        """Compares the names and types of an object with those of `shape`."""
        self.assertEqual(list(value), list(shape))
        for name, kind in shape.items():
            if isinstance(kind, dict):
                self.expect_shape(value[name], kind)
            else:
                self.assertIs(type(value[name]), kind, name)

    def expect_bytes_agree(self, result):
        kv = result["kv"]
        self.assertEqual(
            kv["full_bytes"],
            result["prompt_tokens"] * winnow_cli.KV_BYTES_PER_TOKEN,
        )
        self.assertAlmostEqual(
            kv["ratio"], kv["full_bytes"] / kv["stored_bytes"], places=9
        )
        self.assertLessEqual(kv["pulled_bytes"], kv["stored_bytes"])
        self.assertGreater(kv["pulled_bytes"], 0)


RAZOR_SHAPE = {
    "name": str,
    "sinks": int,
    "window": int,
    "window_divisor": int,
    "echo": str,
    "compensation": str,
    "slack": int,
    "min_length": int,
    "retrieval_heads": int,
    "kv_heads": int,
}
KV_SHAPE = {
    "full_bytes": int,
    "stored_bytes": int,
    "pulled_bytes": int,
    "ratio": float,
}
TIMINGS_SHAPE = {
    "ttft_ms": float,
    "prefill_tokens_per_s": float,
    "decode_tokens_per_s": float,
}


class GenerateJsonTest(JsonTest):
    def testHasTheDocumentedFieldsAndNoOthers(self):
        result = self.generate(*self.with_context())
        self.expect_shape(
            result,
            {
                "text": str,
                "token_ids": list,
                "context_tokens": int,
                "prompt_tokens": int,
                "finish_reason": str,
                "policy": RAZOR_SHAPE,
                "kv": KV_SHAPE,
                "timings": TIMINGS_SHAPE,
            },
        )
        self.assertLess(result["context_tokens"], result["prompt_tokens"])

    def testRazorSaysWhatItUsed(self):
        policy = self.generate(*self.with_context())["policy"]
        self.assertEqual(policy["name"], "razor")
        self.assertEqual(policy["window"], 64)
        self.assertEqual(policy["min_length"], 0)
        self.assertEqual(policy["retrieval_heads"], 23)
        self.assertEqual(policy["kv_heads"], 90)

    def testBytesAgree(self):
        razor = self.generate(*self.with_context())
        self.expect_bytes_agree(razor)
        full = self.generate(*self.with_context()[:2], "--policy", "full")
        self.expect_bytes_agree(full)
        self.assertLess(
            razor["kv"]["stored_bytes"], full["kv"]["stored_bytes"]
        )

    def testFloat32CacheHasTwiceTheBytes(self):
        half = self.generate()["kv"]
        whole = self.generate("--kv-dtype", "f32")["kv"]
        self.assertEqual(whole["full_bytes"], 2 * half["full_bytes"])
        self.assertGreater(whole["stored_bytes"], half["stored_bytes"])

    def testLogprobsComeOnRequestOneAToken(self):
        self.assertNotIn("logprobs", self.generate())
        result = self.generate("--logprobs")
        self.assertEqual(len(result["logprobs"]), len(result["token_ids"]))
        self.assertTrue(all(value <= 0 for value in result["logprobs"]))

    def testStopsAtMaxTokens(self):
        result = self.generate(max_tokens=5)
        self.assertEqual(len(result["token_ids"]), 5)
        self.assertEqual(result["finish_reason"], "length")

    def testOneTokenHasNoDecodeSpeed(self):
        result = self.generate(max_tokens=1)
        self.assertEqual(len(result["token_ids"]), 1)
        self.assertIsNone(result["timings"]["decode_tokens_per_s"])

    def testStopsAtTheEndOfTextUnlessTold(self):
        prompt = "Say the word yes and nothing else."
        stopped = self.generate(prompt=prompt, max_tokens=60)
        self.assertEqual(stopped["finish_reason"], "stop")
        count = len(stopped["token_ids"])
        self.assertLess(count, 60)
        longer = self.generate(
            "--ignore-eos", prompt=prompt, max_tokens=count + 5
        )
        self.assertEqual(longer["finish_reason"], "length")
        self.assertEqual(len(longer["token_ids"]), count + 5)
        self.assertEqual(
            longer["token_ids"][: count - 1], stopped["token_ids"][: count - 1]
        )

    def testPlainOutputIsTheText(self):
        options = ("--prompt", PROMPT, "--max-tokens", "8")
        plain = self.run_ok("generate", "--model", winnow_cli.MODEL, *options)
        self.assertEqual(plain, self.generate()["text"] + "\n")


class PromptFormTest(JsonTest):
    def testChatIsTheRenderedTemplate(self):
        rendered = (
            "<|im_start|>system\nBe brief.<|im_end|>\n"
            f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
        )
        chat = self.generate("--system", "Be brief.")
        raw = self.generate("--raw", prompt=rendered)
        self.assertEqual(chat["prompt_tokens"], raw["prompt_tokens"])
        self.assertEqual(chat["token_ids"], raw["token_ids"])

    def testRawPutsNothingBetween(self):
        context = self.generate("--raw", prompt=context_text(), max_tokens=1)
        prompt = self.generate("--raw", max_tokens=1)
        both = self.generate("--raw", *self.with_context(), max_tokens=1)
        self.assertEqual(both["context_tokens"], context["prompt_tokens"])
        self.assertEqual(
            both["prompt_tokens"],
            context["prompt_tokens"] + prompt["prompt_tokens"],
        )

    def testMarkersAreTokensOnlyInRawText(self):
        marker = "<|im_end|>"
        raw = self.generate("--raw", prompt=marker, max_tokens=1)
        self.assertEqual(raw["prompt_tokens"], 1)
        empty = self.generate(prompt="a", max_tokens=1)["prompt_tokens"] - 1
        chat = self.generate(prompt=marker, max_tokens=1)["prompt_tokens"]
        self.assertGreater(chat - empty, 1)

    def testPromptFileIsThePrompt(self):
        path = self.file("prompt.txt", PROMPT)
        options = ("--prompt-file", path, "--max-tokens", "8")
        self.assertEqual(
            self.run_json("generate", *options)["token_ids"],
            self.generate()["token_ids"],
        )


class SamplingTest(JsonTest):
    def sampled(self, seed, *options):
        return self.generate(
            *("--temperature", "1", "--seed", str(seed)),
            *options,
            max_tokens=16,
        )["token_ids"]

    def testSameSeedGivesTheSameTokens(self):
        self.assertEqual(self.sampled(7), self.sampled(7))

    def testOtherSeedsGiveOtherTokens(self):
        drawn = {tuple(self.sampled(seed)) for seed in SEEDS}
        self.assertGreater(len(drawn), 1)

    def testTopOneIsGreedy(self):
        greedy = self.generate(max_tokens=16)["token_ids"]
        self.assertEqual(self.sampled(1, "--top-k", "1"), greedy)

    def testNumberOfThreadsChangesNothingInFloat32(self):
        # In fast numerics it changes the rounding of bfloat16 products.
        options = ("--numerics", "float32", "--threads")
        self.assertEqual(
            self.sampled(7, *options, "1"), self.sampled(7, *options, "2")
        )


class ScoreJsonTest(JsonTest):
    def testHasTheDocumentedFieldsAndNoOthers(self):
        result = self.score("The sea is blue.", *self.with_context())
        self.expect_shape(
            result,
            {
                "tokens": list,
                "nll": float,
                "exact": bool,
                "context_tokens": int,
                "prompt_tokens": int,
                "policy": RAZOR_SHAPE,
                "kv": KV_SHAPE,
                "timings": TIMINGS_SHAPE,
            },
        )
        for token in result["tokens"]:
            self.expect_shape(
                token, {"id": int, "logprob": float, "greedy": bool}
            )
        self.expect_bytes_agree(result)

    def testNllIsTheMeanOverTheTokens(self):
        result = self.score("The sea is blue.")
        mean = -math.fsum(token["logprob"] for token in result["tokens"])
        mean /= len(result["tokens"])
        self.assertAlmostEqual(result["nll"], mean, places=9)

    def testUnlikelyAnswerIsNotExact(self):
        result = self.score("Purple xylophones vanish.")
        self.assertFalse(result["exact"])
        self.assertFalse(all(token["greedy"] for token in result["tokens"]))

    def testAgreesWithWhatGenerateSays(self):
        options = self.with_context()
        generated = self.generate("--logprobs", *options, max_tokens=12)
        scored = self.score(generated["text"], *options)
        self.assertEqual(
            [token["id"] for token in scored["tokens"]], generated["token_ids"]
        )
        self.assertTrue(scored["exact"])
        for token, expected in zip(scored["tokens"], generated["logprobs"]):
            self.assertAlmostEqual(
                token["logprob"], expected, delta=LOG_PROBABILITY_TOLERANCE
            )

    def testSumsUpInOneLineWithoutJson(self):
        options = ("--prompt", PROMPT, "--answer", "Blue.")
        plain = self.run_ok("score", "--model", winnow_cli.MODEL, *options)
        self.assertRegex(plain, r"\Anll \d+\.\d+ nats a token .*\n\Z")


if __name__ == "__main__":
    winnow_cli.main()
