"""What is wrong is refused: the exit code of the README's list, one line that
says what happened and what to do, nothing on standard output, nothing left
behind."""
import json
import struct

import winnow_cli

# services/cli/exit_code.h
USAGE = 2
NOT_FOUND = 3
OUT_OF_RANGE = 4
FAILED_PRECONDITION = 5
RESOURCE_EXHAUSTED = 6
UNIMPLEMENTED = 7

TIME_LIMIT_S = 30
BAD_UTF8 = b"abc\xff\xfe def"  # wrong from byte 3


class BadInputTest(winnow_cli.WinnowTest):
    def refuses(self, code, says, *arguments):
        """The program must refuse; its line must have every part of `says`."""
        outcome = self.run_winnow(*arguments, timeout_s=TIME_LIMIT_S)
        self.assertEqual(outcome.code, code, outcome.err)
        self.assertEqual(outcome.out, "")
        self.assertRegex(outcome.err, r"\Awinnow: [^\n]+\n\Z")
        for part in says:
            self.assertIn(str(part), outcome.err)
        self.assertEqual(list(self.work.iterdir()), [], "left behind")

    def refuses_generate(self, code, says, *options, prompt=("--prompt", "Hi")):
        self.refuses(
            code,
            says,
            *("generate", "--model", winnow_cli.MODEL, "--max-tokens", "4"),
            *prompt,
            *options,
        )


class BadTextTest(BadInputTest):
    def testTooLongAPrompt(self):
        path = self.file("long.txt", "word " * 9000)
        self.refuses_generate(
            OUT_OF_RANGE,
            ["the prompt has 9031 tokens", "limit is 8192", "shorten"],
            prompt=("--prompt-file", path),
        )

    def testTooManyTokensAskedFor(self):
        for count in ("9000", str(2**63 - 1)):
            with self.subTest(count=count):
                self.refuses(
                    OUT_OF_RANGE,
                    [count, "limit is 8192", "lower max_tokens"],
                    *("generate", "--model", winnow_cli.MODEL),
                    *("--prompt", "Hi", "--max-tokens", count),
                )

    def testEmptyPrompt(self):
        says = ["the prompt is empty", "--prompt"]
        empty = self.file("empty.txt", "")
        for prompt in ((), ("--prompt", ""), ("--prompt-file", empty)):
            with self.subTest(prompt=prompt):
                self.refuses_generate(USAGE, says, prompt=prompt)

    def testInvalidUtf8InThePrompt(self):
        path = self.file("bad.txt", BAD_UTF8)
        self.refuses_generate(
            USAGE,
            [path, "not valid UTF-8 at byte 3"],
            prompt=("--prompt-file", path),
        )

    def testInvalidUtf8InTheContext(self):
        path = self.file("bad.txt", BAD_UTF8)
        self.refuses_generate(
            USAGE,
            [path, "not valid UTF-8 at byte 3"],
            *("--context-file", path),
        )

    def testFolderAsAContext(self):
        self.refuses_generate(
            USAGE,
            [self.folder, "is a folder", "give a file"],
            *("--context-file", self.folder),
        )

    def testMissingContext(self):
        path = self.folder / "missing.txt"
        self.refuses_generate(NOT_FOUND, [path], "--context-file", path)

    def testAnswerWithoutTokens(self):
        self.refuses(
            USAGE,
            ["the answer has no tokens", "--answer"],
            *("score", "--model", winnow_cli.MODEL, "--policy", "full"),
            *("--prompt", "Hi", "--answer", ""),
        )


class BadOptionTest(BadInputTest):
    def testUnknownPolicy(self):
        self.refuses_generate(
            USAGE, ['"razr"', "nearest is razor"], "--policy", "razr"
        )

    def testPolicyOfALaterVersion(self):
        self.refuses_generate(
            UNIMPLEMENTED, ["h2o", "full, razor"], "--policy", "h2o"
        )

    def testUnknownPolicyParameter(self):
        self.refuses_generate(
            USAGE,
            ['"windw"', "nearest is window"],
            *("--policy", "razor,windw=256"),
        )

    def testPolicyParameterOfAnotherPolicy(self):
        self.refuses_generate(
            USAGE,
            ["policy full has no parameter window"],
            *("--policy", "full,window=256"),
        )

    def testWindowThatIsNotWholeBlocks(self):
        self.refuses_generate(
            USAGE,
            ["window=100", "multiple of 64"],
            *("--policy", "razor,window=100"),
        )

    def testSamplingOutOfRange(self):
        for option, value, says in (
            ("--temperature", "nan", "temperature is nan"),
            ("--temperature", "-1", "temperature is -1"),
            ("--temperature", "inf", "temperature is inf"),
            ("--top-p", "nan", "top_p is nan"),
            ("--top-p", "2", "top_p is 2"),
            ("--min-p", "nan", "min_p is nan"),
            ("--repetition-penalty", "nan", "repetition_penalty is nan"),
            ("--top-k", "-1", "top_k is -1"),
        ):
            with self.subTest(option=option, value=value):
                self.refuses_generate(
                    USAGE, [says, "must be"], option, value
                )

    def testWordForANumber(self):
        self.refuses_generate(USAGE, ["--temperature"], "--temperature", "warm")

    def testFewerThanOneToken(self):
        for count in ("-5", "0"):
            with self.subTest(count=count):
                self.refuses(
                    USAGE,
                    [f"max_tokens is {count}", "at least 1"],
                    *("generate", "--model", winnow_cli.MODEL),
                    *("--prompt", "Hi", "--max-tokens", count),
                )

    def testUnknownOption(self):
        self.refuses_generate(
            USAGE,
            ["--polcy", "Did you mean --policy?", "winnow generate --help"],
            *("--polcy", "full"),
        )

    def testUnknownInstructionSet(self):
        self.refuses_generate(
            USAGE,
            ["--cpu-level", "sse", "avx2", "amx"],
            *("--cpu-level", "sse"),
        )

    def testUnknownCommand(self):
        self.refuses(
            USAGE, ["genrate", "Did you mean generate?"], "genrate"
        )
        self.refuses(USAGE, ["frobnicate", "winnow --help"], "frobnicate")

    def testNoCommand(self):
        self.refuses(USAGE, ["subcommand", "winnow --help"])

    def testTwoPrompts(self):
        self.refuses_generate(
            USAGE, ["--prompt-file", "--prompt"], "--prompt-file", "x"
        )

    def testNoModel(self):
        self.refuses(
            USAGE, ["--model", "--help"], "generate", "--prompt", "Hi"
        )


class BadModelTest(BadInputTest):
    def refuses_model(self, code, says, path):
        says = [path, *says]
        self.refuses(code, says, "generate", "--model", path, "--prompt", "Hi")
        self.refuses(code, says, "models", path)

    def testTruncatedFile(self):
        with open(winnow_cli.MODEL, "rb") as file:
            start = file.read(4_000_000)
        for size in (3, 20, 100_000, len(start)):
            with self.subTest(size=size):
                self.refuses_model(
                    USAGE, ["GGUF"], self.file("cut.gguf", start[:size])
                )

    def testForeignFiles(self):
        foreign = (
            bytes(100_000),
            b"It was a dark and stormy night.\n" * 100,
            b"",
            b"FUGG" + bytes(60),
        )
        for content in foreign:
            with self.subTest(content=content[:8]):
                self.refuses_model(
                    USAGE,
                    ["not a GGUF file", "give an intact GGUF file"],
                    self.file("foreign.gguf", content),
                )

    def testHugeCounts(self):
        huge = struct.pack("<4sIQQ", b"GGUF", 3, 2**63 - 1, 2**63 - 1)
        self.refuses_model(
            USAGE, ["at most 65536"], self.file("huge.gguf", huge)
        )

    def testHugeLength(self):
        # One metadata entry, whose key is said to have 2^62 bytes.
        huge = struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**62) + b"key"
        self.refuses_model(USAGE, ["GGUF"], self.file("huge.gguf", huge))

    def testMissingFile(self):
        self.refuses_model(
            NOT_FOUND, ["No such file"], self.folder / "missing.gguf"
        )

    def testFolderWithoutATokenizer(self):
        self.refuses(
            NOT_FOUND,
            [winnow_cli.TINY_LLAMA, "no tokenizer", "tokenizer.json"],
            *("generate", "--model", winnow_cli.TINY_LLAMA),
            *("--prompt", "Hi", "--policy", "full"),
        )

    def testWeightsThatAreNotThere(self):
        folder = self.tiny_model()
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        self.refuses_model(USAGE, ["truncated or damaged"], folder)


class BadProfileTest(BadInputTest):
    def testProfileOfAnotherModel(self):
        path = self.folder / "tiny.json"
        self.run_ok(
            *("profile", "--model", winnow_cli.TINY_LLAMA),
            *("--out", path, "--block", "50"),
        )
        self.refuses_generate(
            FAILED_PRECONDITION,
            [path, "another model", "winnow profile --model"],
            *("--profile", path),
        )

    def testDamagedProfile(self):
        text = winnow_cli.SHIPPED_PROFILE.read_text()
        scores = json.loads(text)
        scores["weights"][0][0] = 0.5
        edited = json.dumps(scores)
        for damaged, says in (
            (text[:3000], "JSON"),
            (edited, "digest"),
            ("{}", "format_version"),
            ("", "JSON"),
        ):
            with self.subTest(says=says):
                path = self.file("damaged.json", damaged)
                self.refuses_generate(USAGE, [path, says], "--profile", path)

    def testMissingProfile(self):
        path = self.folder / "missing.json"
        self.refuses_generate(NOT_FOUND, [path], "--profile", path)

    def testRazorWithoutAProfile(self):
        self.refuses(
            FAILED_PRECONDITION,
            ["needs a head profile", "winnow profile --model"],
            *("generate", "--model", self.tiny_model(), "--raw"),
            *("--prompt", "Hi", "--policy", "razor"),
        )

    def testProfileIntoAFolderThatIsNotThere(self):
        self.refuses(
            NOT_FOUND,
            ["cannot write", "there is no folder"],
            *("profile", "--model", winnow_cli.MODEL),
            *("--out", self.work / "missing" / "p.json"),
        )

    def testBlockThatDoesNotFit(self):
        self.refuses(
            USAGE,
            ["context of 512", "smaller block"],
            *("profile", "--model", winnow_cli.TINY_LLAMA),
            *("--out", self.work / "p.json"),
        )
        self.refuses(
            USAGE,
            ["--block"],
            *("profile", "--model", winnow_cli.TINY_LLAMA),
            *("--out", self.work / "p.json", "--block", "-50"),
        )


class BadCeilingTest(BadInputTest):
    def testFullStore(self):
        self.refuses_generate(
            RESOURCE_EXHAUSTED,
            ["262144 bytes", "--store-size"],
            *("--store-size", "256KiB"),
        )

    def testSizeThatIsNone(self):
        self.refuses_generate(
            USAGE,
            ["'many' is not a size", "512MiB"],
            *("--store-size", "many"),
        )
        self.refuses_generate(
            USAGE, ["--store-size 0", "1GiB"], "--store-size", "0"
        )

    def testMoreMemoryThanThereIs(self):
        self.refuses_generate(
            RESOURCE_EXHAUSTED, ["memory"], "--store-size", "100000TiB"
        )


if __name__ == "__main__":
    winnow_cli.main()
