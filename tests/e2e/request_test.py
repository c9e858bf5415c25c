"""GenerateRequest: every field out of its range."""
import math

import grpc
import winnow_cli
import winnow_cluster

INVALID = grpc.StatusCode.INVALID_ARGUMENT
OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE
MAX_TOKENS_LIMIT = 300
MAX_PROMPT_BYTES = 2000


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


class RefusalTest(RequestTest):
    def expect_refusals(self, code, cases):
        """`cases`: (what the message has, fields)."""
        for says, fields in cases:
            with self.subTest(says=says, fields=str(fields)[:200]):
                error = self.rpc_error(lambda fields=fields: self.ask(**fields))
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
            ('"99"', {"kind": 99}),
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
                error = self.rpc_error(
                    lambda request=request: list(call(request, timeout=10))
                )
                # gRPC's own answer, before any code of ours.
                self.assertIn(
                    error.code(), (INVALID, grpc.StatusCode.INTERNAL)
                )
        # Nor does a library write past the log.
        self.assertEqual(len(self.server.log), 1, self.server.text())
        self.expect_refusals(INVALID, [])


if __name__ == "__main__":
    winnow_cli.main()
