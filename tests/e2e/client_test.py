"""The clients of deploy/examples, as users have them, find the number that is
hidden in the demo's text."""
import os
import pathlib
import subprocess
import sys

import winnow_cli
import winnow_cluster

EXAMPLES = winnow_cli.ROOT / "deploy" / "examples"
NUMBER = "4913726"
QUESTION = (
    "What is the special magic number for Oslo mentioned in the provided text?"
)


class ClientTest(winnow_cluster.ClusterTest):
    def run_client(self, *command):
        environment = {
            **os.environ,
            "PYTHONPATH": os.environ["WINNOW_PYTHON_STUBS"],
        }
        return subprocess.run(
            [*map(os.fspath, command)],
            capture_output=True,
            cwd=self.work,
            env=environment,
            text=True,
            timeout=240,
            check=False,
        )

    def expect_answer(self, *client):
        document = self.folder / "document.txt"
        subprocess.run(
            [
                sys.executable,
                winnow_cli.ROOT / "deploy" / "make-demo-context",
                document,
            ],
            check=True,
        )
        server = self.start("serve")
        asked = self.run_client(*client, server.address, document, QUESTION)
        self.assertEqual(asked.returncode, 0, asked.stderr)
        self.assertIn(NUMBER, asked.stdout)
        self.assertTrue(asked.stdout.endswith("\n"))
        ask = {"method": "Generate"}
        self.assertEqual(server.metric("winnow_rpc_requests_total", **ask), 1)

    def expect_failure(self, *client):
        document = self.file("document.txt", "Nothing.")
        address = self.socket("nobody")
        asked = self.run_client(*client, address, document, QUESTION)
        self.assertNotEqual(asked.returncode, 0)
        self.assertNotEqual(asked.stderr, "")

    def testPython(self):
        self.expect_answer(sys.executable, "-B", EXAMPLES / "ask.py")

    def testPythonWithoutAServer(self):
        self.expect_failure(sys.executable, "-B", EXAMPLES / "ask.py")

    def testCpp(self):
        self.expect_answer(pathlib.Path(os.environ["WINNOW_EXAMPLE_ASK"]))

    def testCppWithoutAServer(self):
        self.expect_failure(pathlib.Path(os.environ["WINNOW_EXAMPLE_ASK"]))


if __name__ == "__main__":
    winnow_cli.main()
