"""GenerateRequest: every field out of its range, and what the fields do."""
import math

import grpc
import winnow_cli
import winnow_cluster

INVALID = grpc.StatusCode.INVALID_ARGUMENT
OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE
MAX_TOKENS_LIMIT = 300
MAX_PROMPT_BYTES = 2000
NUM_LAYERS_HEADS = 6  # of the tiny model
# Ids of the tiny model's bytes: see winnow_cli.WinnowTest.tiny_model.
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTES = PRINTABLE + [byte for byte in range(256) if byte not in PRINTABLE]


class RequestTest(winnow_cluster.ClusterTest):
    def setUp(self):
        super().setUp()
        self.wire = winnow_cluster.stubs()
        self.server = self.start(
            *("serve", "--model", self.chat_model()),
            *("--max-tokens-limit", str(MAX_TOKENS_LIMIT)),
            *("--max-prompt-bytes", str(MAX_PROMPT_BYTES)),
        )
        self.stub = self.generation(self.server)

    def ask(self, **fields):
        """All events of an answer."""
        request = self.wire.generation.GenerateRequest(
            **{"prompt": "Hi", **fields}
        )
        return list(self.stub.Generate(request, timeout=30))

    def text(self, events):
        return "".join(
            event.token.text + event.finished.text for event in events
        )

    def ids(self, events):
        return [
            event.token.id for event in events if event.HasField("token")
        ]


class RefusalTest(RequestTest):
    def expect_refusals(self, code, cases):
        """`cases`: (what the message has, fields)."""
        for says, fields in cases:
            with self.subTest(says=says, fields=str(fields)[:200]):
                error = self.refused(lambda fields=fields: self.ask(**fields))
                self.assertEqual(error.code(), code, error.details())
                for part in [says] if isinstance(says, str) else says:
                    self.assertIn(part, error.details())
        self.expect_nothing_left(self.server)
        self.assertEqual(self.server.metric("winnow_prefill_tokens_total"), 0)
        # It still serves.
        self.assertEqual(len(self.ask(max_tokens=2)), 4)

    def testTexts(self):
        system, user, assistant = 1, 2, 3

        def turns(*roles):
            messages = [{"role": role, "content": "x"} for role in roles]
            return {"prompt": "", "messages": messages}

        empty = {"prompt": "", "messages": [{"role": user}]}
        self.expect_refusals(
            INVALID,
            (
                ("prompt and messages are empty", {"prompt": ""}),
                (
                    "prompt and messages are both given",
                    {**turns(user), "prompt": "Hi"},
                ),
                ("messages[0].role", turns(0)),
                ("messages[0].role", turns(9)),
                ("messages[0].role", turns(assistant, user)),
                ("messages[1].role", turns(user, system, user)),
                ("messages[1].role", turns(user, user)),
                ("messages[1].role", turns(user, assistant)),
                ("messages[0].role", turns(system)),
                ("messages[0].content", empty),
                (
                    ("messages has 1025", "1024"),
                    turns(*[user, assistant] * 512, user),
                ),
            ),
        )

    def testNumbersAndStops(self):
        self.expect_refusals(
            INVALID,
            (
                (("max_tokens is 0", "300"), {"max_tokens": 0}),
                (("max_tokens is -1", "300"), {"max_tokens": -1}),
                (("max_tokens is 301", "300"), {"max_tokens": 301}),
                ("max_tokens", {"max_tokens": -(2**63)}),
                (("stop has 17", "16"), {"stop": ["x"] * 17}),
                ("stop[1]", {"stop": ["x", ""]}),
                (("stop[0] has 257", "256"), {"stop": ["x" * 257]}),
                ("forced_ids[1] is -1", {"forced_ids": [1, -1]}),
                (("forced_ids[0] is 512", "512"), {"forced_ids": [512]}),
                (("forced_ids", "301", "300"), {"forced_ids": [1] * 301}),
                (("forced_text", "301"), {"forced_text": "x" * 301}),
                (
                    "forced_ids and forced_text",
                    {"forced_ids": [1], "forced_text": "x"},
                ),
                ("max_tokens", {"forced_ids": [1], "max_tokens": 1}),
                ("stop", {"forced_text": "x", "stop": ["x"]}),
            ),
        )

    def testSampling(self):
        cases = (
            ("temperature", -0.5),
            ("temperature", 101),
            ("temperature", math.nan),
            ("temperature", math.inf),
            ("top_k", -1),
            ("top_k", 2**31 - 1),
            ("top_p", 0),
            ("top_p", 1.5),
            ("top_p", math.nan),
            ("min_p", -0.1),
            ("min_p", 1.1),
            ("min_p", math.nan),
            ("repetition_penalty", 0),
            ("repetition_penalty", 11),
            ("repetition_penalty", math.nan),
        )
        self.expect_refusals(
            INVALID,
            [
                (("sampling", name), {"sampling": {name: value}})
                for name, value in cases
            ],
        )

    def testPolicy(self):
        full, razor, streaming = 1, 2, 3
        cases = (
            ("kind", {"kind": 99}),
            ("kind", {"sinks": 4}),
            ("sinks", {"kind": full, "sinks": 4}),
            ("sinks", {"kind": razor, "sinks": -1}),
            ("sinks", {"kind": streaming, "sinks": 65}),
            ("window", {"kind": razor, "window": 100}),
            ("window", {"kind": streaming, "window": 0}),
            ("window", {"kind": razor, "window": -64}),
            ("window_divisor", {"kind": razor, "window_divisor": 65}),
            ("window_divisor", {"kind": razor, "window_divisor": -1}),
            ("induction_share", {"kind": razor, "induction_share": 1.5}),
            ("induction_share", {"kind": razor, "induction_share": math.nan}),
            ("echo_share", {"kind": razor, "echo_share": -0.1}),
            ("echo_min", {"kind": razor, "echo_min": 1.01}),
            ("echo_min", {"kind": streaming, "echo_min": 0.3}),
            ("compensation", {"kind": razor, "compensation": 9}),
            ("slack", {"kind": razor, "slack": 100}),
            ("slack", {"kind": razor, "slack": -64}),
            ("min_length", {"kind": razor, "min_length": -1}),
            ("random_heads", {"kind": streaming, "random_heads": 1}),
        )
        self.expect_refusals(
            INVALID,
            [
                (("policy", name), {"policy": fields})
                for name, fields in cases
            ],
        )

    def testARazorNeedsAProfile(self):
        self.expect_refusals(
            grpc.StatusCode.FAILED_PRECONDITION,
            [("profile", {"policy": {"kind": 2, "min_length": 0}})],
        )

    def testLengths(self):
        self.expect_refusals(
            OUT_OF_RANGE,
            (
                (("2001", "2000"), {"prompt": "x" * 2001}),
                (("2001", "2000"), {"context": "é" * 1000, "prompt": "x"}),
                (("2004", "2000"), {"forced_text": "x" * 2002}),
                (("512",), {"prompt": "x" * 600}),
                (("512", "300"), {"prompt": "x" * 100, "max_tokens": 300}),
            ),
        )

    def testAnotherModel(self):
        self.expect_refusals(
            grpc.StatusCode.NOT_FOUND,
            [
                (('"other"', '"tiny"'), {"model": "other"}),
                (r"\"\n", {"model": '"\n' + "x" * 100_000}),
            ],
        )
        self.assertEqual(len(self.ask(model="tiny", max_tokens=1)), 3)

    def testBytesThatAreNoMessage(self):
        method = "/winnow.v1.GenerationService/Generate"
        call = self.channel(self.server.address).unary_stream(method)
        for request in (b"\xff" * 10, b"\x12\x02\xff\xfe", b"\x12\x7fabc"):
            with self.subTest(request=request):
                error = self.refused(
                    lambda request=request: list(call(request, timeout=10))
                )
                # gRPC's own answer, before any code of ours.
                self.assertIn(
                    error.code(), (INVALID, grpc.StatusCode.INTERNAL)
                )
        self.expect_refusals(INVALID, [])


class AnswerTest(RequestTest):
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
        self.assertEqual(events[-1].finished.reason, self.length())
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

    def length(self):
        return self.wire.decode.FINISH_REASON_LENGTH

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
            policy={"kind": 3, "window": 64},
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
        self.assertEqual(finished.kv_heads, NUM_LAYERS_HEADS)
        self.assertEqual(finished.policy.window, 64)
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
