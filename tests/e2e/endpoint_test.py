"""`winnow generate` and `winnow score` give through --endpoint what they give
in their own process: the same JSON, the same exit codes."""
import json

import winnow_cli
import winnow_cluster

# services/cli/exit_code.h
USAGE = 2
OUT_OF_RANGE = 4
UNAVAILABLE = 8

CONTEXT = " ".join(f"Item {i} is number {i * 37 % 100}." for i in range(150))


class Refusing(winnow_cluster.ClusterTest):
    def refused(self, code, says, *arguments):
        outcome = self.run_winnow(*arguments)
        self.assertEqual(outcome.code, code, outcome.err)
        self.assertEqual(outcome.out, "")
        self.assertRegex(outcome.err, r"\Awinnow: [^\n]+\n\Z")
        self.assertIn(says, outcome.err)


class EndpointTest(Refusing):
    def both(self, command, *arguments):
        """What this process prints, and what it prints asking a server."""
        here = self.run_json(command, *arguments)
        there = json.loads(
            self.run_ok(
                command, "--json", "--endpoint", self.server.address, *arguments
            )
        )
        return here, there

    def agree(self, here, there):
        self.assertEqual(list(here), list(there))
        self.assertEqual(list(here["policy"]), list(there["policy"]))
        self.assertEqual(list(here["timings"]), list(there["timings"]))
        for value in there["timings"].values():
            self.assertGreater(value, 0)
        del here["timings"], there["timings"]
        self.assertEqual(here, there)

    def testTheSameAnswerAndTheSameJson(self):
        self.server = self.start("serve")
        context = self.file("context.txt", CONTEXT)
        self.agree(
            *self.both(
                *("generate", "--context-file", context, "--logprobs"),
                *("--prompt", "Which numbers?", "--max-tokens", "12"),
                *("--policy", "razor,window=128"),
            )
        )
        self.agree(
            *self.both(
                *("generate", "--system", "Be brief.", "--max-tokens", "16"),
                *("--prompt", "Say hello in Japanese."),
                *("--temperature", "0.8", "--seed", "3"),
            )
        )
        self.agree(
            *self.both(
                *("score", "--context-file", context, "--policy", "full"),
                *("--prompt", "Item 3?", "--answer", "number 11"),
            )
        )

    def testTextComesAsItIsPrintedHere(self):
        self.server = self.start("serve")
        ask = ("--prompt", "Say hello in Japanese.", "--max-tokens", "16")
        here = self.run_ok("generate", "--model", winnow_cli.MODEL, *ask)
        there = self.run_ok("generate", "--endpoint", self.server.address, *ask)
        self.assertEqual(here, there)

    def testRefusalsOfTheServerAreExitCodes(self):
        self.server = self.start("serve", "--max-tokens-limit", "9000")
        ask = ("generate", "--endpoint", self.server.address)
        self.refused(
            *(OUT_OF_RANGE, "lower max_tokens"),
            *(*ask, "--prompt", "Hi", "--max-tokens", "8190"),
        )
        self.refused(
            *(USAGE, "max_tokens is 9001"),
            *(*ask, "--prompt", "Hi", "--max-tokens", "9001"),
        )
        self.refused(USAGE, "prompt and messages are empty", *ask)
        self.refused(
            *(USAGE, "temperature"),
            *(*ask, "--prompt", "Hi", "--temperature", "-1"),
        )

    def testNobodyThere(self):
        self.refused(
            *(UNAVAILABLE, "see that it runs"),
            *("generate", "--endpoint", self.socket("none"), "--prompt", "Hi"),
        )


class EndpointOptionTest(Refusing):
    """Refused before anything is asked."""

    def testOptionsOfTheLocalEngine(self):
        for option in (
            ("--model", winnow_cli.MODEL),
            ("--profile", "profile.json"),
            ("--numerics", "float32"),
            ("--kv-dtype", "f32"),
            ("--threads", "2"),
            ("--store-size", "1GiB"),
            ("--raw",),
        ):
            for command in ("generate", "score"):
                answer = ("--answer", "x") if command == "score" else ()
                with self.subTest(option=option, command=command):
                    self.refused(
                        *(USAGE, f"{option[0]} is for a model in this process"),
                        *(command, "--endpoint", "localhost:1", *answer),
                        *("--prompt", "Hi", *option),
                    )

    def testNeitherModelNorEndpoint(self):
        self.refused(
            USAGE, "--model is required", "generate", "--prompt", "Hi"
        )

    def testATimeoutWithoutAnEndpoint(self):
        self.refused(
            *(USAGE, "--timeout goes with --endpoint"),
            *("generate", "--model", winnow_cli.MODEL, "--timeout", "5s"),
        )

    def testATimeoutWithoutAUnit(self):
        self.refused(
            *(USAGE, "not a duration"),
            *("generate", "--endpoint", "localhost:1", "--timeout", "5"),
        )


if __name__ == "__main__":
    winnow_cli.main()
