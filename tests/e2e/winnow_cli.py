"""Runs the program under test, for the tests that do so from outside.

Environment: WINNOW_BINARY is the program; WINNOW_TEST_MODEL the model, by
default the one that deploy/fetch-model keeps.
"""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
TINY_LLAMA = GOLDEN / "tiny" / "llama"
SHIPPED_PROFILE = (
    ROOT / "cache_store/plan/profiles/smollm2-135m-instruct-q4_1.json"
)
KV_BYTES_PER_TOKEN = 30 * 3 * 64 * 2 * 2  # layers, heads, dim, K and V, bf16


def _model():
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(
        os.environ.get("HOME", ""), ".cache"
    )
    cache = os.environ.get("WINNOW_CACHE_DIR") or os.path.join(caches, "winnow")
    return os.environ.get("WINNOW_TEST_MODEL") or os.path.join(
        cache, "models", "SmolLM2-135M-Instruct.Q4_1.gguf"
    )


MODEL = _model()


class Outcome:
    """What a run left: exit code (negative: a signal), output, errors."""

    def __init__(self, completed):
        self.code = completed.returncode
        self.out = completed.stdout.decode("utf-8")
        self.err = completed.stderr.decode("utf-8", errors="replace")


class WinnowTest(unittest.TestCase):
    """A test with a folder of its own, in which the program runs."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="winnow-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.work = self.folder / "work"
        self.work.mkdir()

    def run_winnow(self, *arguments, timeout_s=850):
        environment = {**os.environ, "TMPDIR": str(self.work)}
        return Outcome(
            subprocess.run(
                [os.environ["WINNOW_BINARY"], *map(os.fspath, arguments)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd=self.work,
                env=environment,
                timeout=timeout_s,
                check=False,
            )
        )

    def run_json(self, command, *arguments):
        """Runs a subcommand on the model; returns the object it prints."""
        return json.loads(
            self.run_ok(command, "--model", MODEL, "--json", *arguments)
        )

    def run_ok(self, *arguments):
        """Runs the program, which must succeed; returns what it printed."""
        outcome = self.run_winnow(*arguments)
        self.assertEqual(outcome.code, 0, outcome.err)
        return outcome.out

    def file(self, name, content):
        """Writes text or bytes to a file of the test's folder."""
        path = self.folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8")
        return path

    def tiny_model(self):
        """A folder with the tiny Llama and a tokenizer of single bytes."""
        folder = self.folder / "tiny"
        shutil.copytree(TINY_LLAMA, folder)
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        spellings = [chr(byte) for byte in printable]
        spellings += [chr(256 + index) for index in range(len(others))]
        tokenizer = {
            "normalizer": None,
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "use_regex": True,
            },
            "model": {
                "type": "BPE",
                "vocab": {text: id for id, text in enumerate(spellings)},
                "merges": [],
            },
            "added_tokens": [
                {"id": id, "content": f"<|{id}|>", "special": True}
                for id in range(256, 512)
            ],
        }
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        return folder


def main():
    unittest.main(verbosity=2)
