"""GenerateResponse: whole characters, stops, log-probabilities, usage."""
import math

import request_test
import winnow_cli

KV_HEADS = 6  # of the tiny model
# Ids of the tiny model's bytes: see winnow_cli.WinnowTest.tiny_model.
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTES = PRINTABLE + [byte for byte in range(256) if byte not in PRINTABLE]


class AnswerTest(request_test.RequestTest):
    def text(self, events):
        return "".join(
            event.token.text + event.finished.text for event in events
        )

    def ids(self, events):
        return [
            event.token.id for event in events if event.HasField("token")
        ]

    def forced(self, data):
        """The pieces of text where the model says these bytes."""
        events = self.ask(forced_ids=[BYTES.index(byte) for byte in data])
        self.assertEqual(len(self.ids(events)), len(data))
        return [event.token.text + event.finished.text for event in events]

    def testPiecesAreWholeCharacters(self):
        for data in (
            "Grüße, 世界! \U0001f642\U0001f468‍\U0001f469 done".encode(),
            b"broken \xe4\xb8 here, \xf0\x9f\x99 there, \xff\xc0\xaf",
            b"surrogate \xed\xa0\x80 and the end of half \xe4\xb8",
        ):
            pieces = self.forced(data)
            expected = data.decode("utf-8", errors="replace")
            self.assertEqual("".join(pieces), expected)
            # Three bytes of a character wait for the fourth.
            self.assertLess(sum(map(bool, pieces)), len(data))

    def testSampledBytesAreAlwaysText(self):
        for seed in range(5):
            events = self.ask(
                max_tokens=150,
                ignore_eos=True,
                sampling={"temperature": 2, "seed": seed},
            )
            said = bytes(BYTES[id] for id in self.ids(events) if id < 256)
            self.assertEqual(
                self.text(events), said.decode("utf-8", errors="replace")
            )

    def testTheTextEndsBeforeTheFirstStop(self):
        fields = dict(
            max_tokens=120,
            ignore_eos=True,
            sampling={"temperature": 2, "seed": 11},
        )
        events = self.ask(**fields)
        whole = self.text(events)
        self.assertEqual(
            events[-1].finished.reason, self.wire.decode.FINISH_REASON_LENGTH
        )
        for begin, end in ((20, 21), (30, 33), (41, 49)):
            stop = whole[begin:end]
            cut = self.ask(**fields, stop=["not there at all", stop])
            self.assertEqual(self.text(cut), whole[: whole.index(stop)])
            self.assertNotIn(stop, self.text(cut))
            self.assertEqual(
                cut[-1].finished.reason, self.wire.decode.FINISH_REASON_STOP
            )
            self.assertLess(len(cut), len(events))
            used = cut[-1].finished.usage.completion_tokens
            self.assertEqual(used, len(cut) - 2)
        # The start of a stop text that never comes is given in the end.
        self.assertEqual(
            self.text(self.ask(**fields, stop=[whole[-5:] + "?"])), whole
        )
        self.expect_nothing_left(self.server)

    def testLogProbabilitiesComeOnRequest(self):
        plain = self.ask(max_tokens=5, ignore_eos=True)
        rated = self.ask(max_tokens=5, ignore_eos=True, log_probabilities=True)
        self.assertEqual(self.ids(plain), self.ids(rated))
        for event in plain[1:-1]:
            self.assertFalse(event.token.HasField("log_probability"))
            self.assertTrue(event.token.greedy)
        for event in rated[1:-1]:
            self.assertLess(event.token.log_probability, 0)
        # Rated one after the other, all 512 tokens have probability 1.
        first = [
            self.ask(forced_ids=[id], log_probabilities=True)[1].token
            for id in range(512)
        ]
        total = math.fsum(math.exp(t.log_probability) for t in first)
        self.assertAlmostEqual(total, 1, delta=1e-3)
        self.assertEqual(
            [token.id for token in first if token.greedy], self.ids(plain)[:1]
        )

    def testUsageAndTimesAddUp(self):
        events = self.ask(
            context="A long story. " * 10,
            max_tokens=6,
            ignore_eos=True,
            policy={"kind": 3, "window": 64, "min_length": 0},
        )
        accepted, finished = events[0].accepted, events[-1].finished
        self.assertEqual(accepted.model, "tiny")
        self.assertEqual(accepted.dropped_bytes, 0)
        usage, times = finished.usage, finished.timings
        self.assertEqual(usage.prompt_tokens, accepted.prompt_tokens)
        self.assertGreater(accepted.prompt_tokens, accepted.context_tokens)
        self.assertGreater(accepted.context_tokens, 140)
        self.assertEqual(usage.completion_tokens, 6)
        self.assertEqual(usage.prefills, 1)
        self.assertEqual(finished.retrieval_heads, 0)
        self.assertEqual(finished.kv_heads, KV_HEADS)
        self.assertEqual(finished.policy.window, 64)
        self.assertLess(usage.kv_stored_bytes, usage.kv_full_bytes)
        seconds = {
            field.name: value.ToTimedelta().total_seconds()
            for field, value in times.ListFields()
        }
        parts = ("queue", "tokenize", "prefill", "pull", "decode")
        self.assertLessEqual(
            sum(seconds.get(part, 0) for part in parts),
            seconds["total"] + seconds.get("queue", 0),
        )
        self.assertLess(seconds["time_to_first_token"], seconds["total"])

    def testAConversationIsItsRenderedText(self):
        # The template's own words, as a user would have to type them.
        messages = [
            {"role": 1, "content": "Be brief."},
            {"role": 2, "content": "One?"},
            {"role": 3, "content": "Two."},
            {"role": 2, "content": "Three?"},
        ]
        names = {1: "system", 2: "user", 3: "assistant"}
        rendered = "".join(
            f"<|im_start|>{names[m['role']]}\n{m['content']}<|im_end|>\n"
            for m in messages
        )
        events = self.ask(prompt="", messages=messages, max_tokens=1)
        self.assertEqual(
            events[0].accepted.prompt_tokens,
            len(rendered + "<|im_start|>assistant\n"),
        )


if __name__ == "__main__":
    winnow_cli.main()
