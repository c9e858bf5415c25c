"""Prefill, store and decode in processes of their own give what one process
gives: the same tokens, text and JSON."""
import json

import winnow_cli
import winnow_cluster

GOLDEN = json.loads((winnow_cli.GOLDEN / "smollm2/razor.json").read_text())
LOGITS = json.loads(
    (winnow_cli.GOLDEN / "smollm2/razor_logits.json").read_text()
)
PROMPT_IDS = GOLDEN["context_ids"] + GOLDEN["question_ids"]
NUM_TOKENS = 64
NLL_TOLERANCE = 0.02  # of float32 products over a cache in bfloat16
CONTEXT = " ".join(f"Item {i} is number {i * 37 % 100}." for i in range(150))


class TokenTest(winnow_cluster.ClusterTest):
    """The golden context of 1,216 tokens, in float32 as the goldens are."""

    def setUp(self):
        super().setUp()
        self.wire = winnow_cluster.stubs()

    def prefill(self, role, policy, **forced):
        stub = self.wire.prefill_rpc.PrefillServiceStub(
            self.channel(role.address)
        )
        request = self.wire.prefill.PrefillRequest(
            ids=PROMPT_IDS, compact_at=len(GOLDEN["context_ids"]), **forced
        )
        request.policy.CopyFrom(policy)
        return stub.Prefill(request, timeout=120)

    def decode(self, role, prefilled, **fields):
        stub = self.wire.decode_rpc.DecodeServiceStub(
            self.channel(role.address)
        )
        request = self.wire.decode.DecodeRequest(
            manifest=prefilled.manifest,
            first_token=prefilled.first.id,
            **fields,
        )
        *tokens, last = stub.Decode(request, timeout=120)
        self.assertEqual(last.WhichOneof("event"), "finished")
        return [event.token for event in tokens], last.finished

    def ids(self, prefill, decode, policy):
        prefilled = self.prefill(prefill, policy)
        tokens, finished = self.decode(
            *(decode, prefilled), max_tokens=NUM_TOKENS - 1, ignore_eos=True
        )
        self.assertEqual(
            finished.reason, self.wire.decode.FINISH_REASON_LENGTH
        )
        return [prefilled.first.id, *(token.id for token in tokens)]

    def agree(self, policy, tcp=False):
        """The ids, which three processes and one have in common."""
        one = self.start("serve", "--numerics", "float32")
        together = self.ids(one, one, policy)
        one.stop()
        three = self.start_split("--numerics", "float32", tcp=tcp)
        apart = self.ids(three.prefill, three.decode, policy)
        self.assertEqual(apart, together)
        self.assertEqual(len(apart), NUM_TOKENS)
        self.expect_nothing_left(three.prefill, three.store, three.decode)
        return apart

    def testFull(self):
        policy = self.wire.policy.Policy(kind=self.wire.policy.POLICY_KIND_FULL)
        ids = self.agree(policy)
        self.assertEqual(ids[:7], GOLDEN["results"]["full"]["answer_argmax"])

    def testRazorOverTcp(self):
        policy = self.wire.policy.Policy(
            kind=self.wire.policy.POLICY_KIND_RAZOR, window=256
        )
        ids = self.agree(policy, tcp=True)
        self.assertEqual(ids[:7], GOLDEN["results"]["razor"]["answer_argmax"])

    def testStreaming(self):
        policy = self.wire.policy.Policy(
            kind=self.wire.policy.POLICY_KIND_STREAMING, window=1024
        )
        self.agree(policy)

    def testARatedAnswerIsTheReferences(self):
        # Streaming does not find the number, so its answer is forced.
        golden = GOLDEN["results"]["streaming"]
        answer = GOLDEN["answer_ids"]
        policy = self.wire.policy.Policy(
            kind=self.wire.policy.POLICY_KIND_STREAMING, window=256
        )
        roles = self.start_split("--numerics", "float32")
        prefilled = self.prefill(
            roles.prefill, policy, forced_first=answer[0]
        )
        rest, _ = self.decode(
            *(roles.decode, prefilled),
            max_tokens=len(answer) - 1,
            forced=answer[1:],
        )
        tokens = [prefilled.first, *rest]
        self.assertEqual([token.id for token in tokens], answer)
        self.assertEqual(
            [token.greedy for token in tokens],
            [a == b for a, b in zip(answer, golden["answer_argmax"])],
        )
        nll = -sum(token.log_probability for token in tokens) / len(tokens)
        self.assertAlmostEqual(
            nll, golden["answer_nll"], delta=NLL_TOLERANCE
        )


class TextTest(winnow_cluster.ClusterTest):
    """`winnow generate` and `score` ask a gateway before three processes."""

    def compare(self, command, *arguments):
        here = self.run_json(command, *arguments)
        there = json.loads(
            self.run_ok(
                *(command, "--json", "--endpoint", self.gateway.address),
                *arguments,
            )
        )
        self.assertEqual(
            list(here.pop("timings")), list(there.pop("timings"))
        )
        self.assertEqual(here, there)
        return there

    def testTextIdsBytesAndScoresAreThoseOfOneProcess(self):
        roles = self.start_split(gateway=True)
        self.gateway = roles.gateway
        context = self.file("context.txt", CONTEXT)
        document = ("--context-file", context, "--prompt", "Which is item 7?")
        razor = ("--policy", "razor,window=128")
        generated = self.compare(
            *("generate", *document, *razor, "--max-tokens", "24", "--logprobs")
        )
        self.assertGreater(generated["kv"]["ratio"], 1.5)
        self.assertEqual(len(generated["logprobs"]), 24)
        self.compare(
            *("generate", "--prompt", "Say hello in Japanese."),
            *("--temperature", "0.8", "--seed", "3", "--max-tokens", "16"),
        )
        self.compare(
            *("score", *document, *razor, "--answer", "Item 7 is number 59."),
        )
        # Everything but the log-probabilities is in the plain text, too.
        plain = ("generate", *document, *razor, "--max-tokens", "24")
        printed = self.run_ok(*plain, "--endpoint", self.gateway.address)
        self.assertEqual(printed, generated["text"] + "\n")
        self.expect_nothing_left(*vars(roles).values())


if __name__ == "__main__":
    winnow_cli.main()
