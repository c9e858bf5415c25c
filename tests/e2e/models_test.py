"""`winnow models`, `--version` and `--help`."""
import hashlib
import json
import pathlib
import re
import shutil

import winnow_cli

COMMANDS = ("generate", "score", "profile", "models", "bench")


class ModelsCommandTest(winnow_cli.WinnowTest):
    def models(self, *paths):
        return json.loads(self.run_ok("models", "--json", *paths))

    def testDescribesTheGgufFile(self):
        (model,) = self.models(winnow_cli.MODEL)
        with open(winnow_cli.MODEL, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        name = model.pop("name")
        self.assertIn("smollm2", name.lower())
        self.assertEqual(
            model,
            {
                "path": winnow_cli.MODEL,
                "family": "llama",
                "layers": 30,
                "query_heads": 9,
                "kv_heads": 3,
                "head_dim": 64,
                "vocabulary": 49152,
                "context_limit": 8192,
                "kv_bytes_per_token": winnow_cli.KV_BYTES_PER_TOKEN,
                "profile": "built-in",
                "digest": digest,
            },
        )

    def testDescribesAFolderAsItsConfigurationDoes(self):
        config = json.loads((winnow_cli.TINY_LLAMA / "config.json").read_text())
        (model,) = self.models(winnow_cli.TINY_LLAMA)
        self.assertEqual(model["family"], config["model_type"])
        self.assertEqual(model["layers"], config["num_hidden_layers"])
        self.assertEqual(model["query_heads"], config["num_attention_heads"])
        self.assertEqual(model["kv_heads"], config["num_key_value_heads"])
        self.assertEqual(model["vocabulary"], config["vocab_size"])
        self.assertEqual(
            model["context_limit"], config["max_position_embeddings"]
        )
        self.assertEqual(model["profile"], "none")

    def testFindsTheModelsOfAFolder(self):
        tiny = winnow_cli.TINY_LLAMA.parent
        found = self.models(tiny)
        expected = sorted(
            str(config.parent) for config in tiny.glob("*/config.json")
        )
        self.assertEqual([model["path"] for model in found], expected)
        self.assertEqual(len({model["digest"] for model in found}), 4)

    def testDamagedFileDoesNotHideTheOthers(self):
        shelf = self.folder / "shelf"
        shutil.copytree(winnow_cli.TINY_LLAMA, shelf / "whole")
        (shelf / "broken.gguf").write_bytes(b"GGUF")
        outcome = self.run_winnow("models", shelf)
        self.assertEqual(outcome.code, 0)
        self.assertIn(str(shelf / "whole"), outcome.out)
        self.assertIn("skipped", outcome.err)
        self.assertIn("broken.gguf", outcome.err)

    def testEmptyFolderSaysWhatToGive(self):
        self.assertIn("give a GGUF file", self.run_ok("models", self.work))

    def testPrintsOneModelForPeople(self):
        text = self.run_ok("models", winnow_cli.MODEL)
        self.assertIn("30 layers", text)
        self.assertIn("head profile: built-in", text)


class UsageTest(winnow_cli.WinnowTest):
    def testVersionIsThatOfTheProject(self):
        project = (winnow_cli.ROOT / "CMakeLists.txt").read_text()
        version = re.search(r"project\(winnow VERSION ([0-9.]+)", project)[1]
        self.assertEqual(self.run_ok("--version"), f"winnow {version}\n")

    def testHelpNamesCommandsAndExitCodes(self):
        text = self.run_ok("--help")
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^  {command} ")
        header = pathlib.Path(winnow_cli.ROOT / "services/cli/exit_code.h")
        codes = re.findall(r"kExit\w+ = (\d)", header.read_text())
        self.assertGreater(len(codes), 5)
        for code in codes:
            self.assertRegex(text, rf"[ \n]{code} \w")

    def testHelpOfEveryCommandHasAnExample(self):
        for command in COMMANDS:
            with self.subTest(command=command):
                text = self.run_ok(command, "--help")
                self.assertRegex(text, rf"Examples?:\n  winnow {command}")


if __name__ == "__main__":
    winnow_cli.main()
