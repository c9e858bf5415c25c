"""Settings: flags over variables over one file, their origins, and the line
that a server says at its start."""
import json
import os
import unittest.mock

import winnow_cli
import winnow_cluster

USAGE = 2  # services/cli/exit_code.h


def with_environment(**variables):
    return unittest.mock.patch.dict(os.environ, variables)


class SettingsTest(winnow_cluster.ClusterTest):
    def settings(self, *arguments):
        """{name: (value, origin)} of `winnow config print`."""
        printed = json.loads(
            self.run_ok("config", "print", "--json", *arguments)
        )
        return {
            entry["name"]: (entry["value"], entry["origin"])
            for entry in printed["settings"]
        }

    def refused(self, says, *arguments):
        outcome = self.run_winnow(*arguments, timeout_s=60)
        self.assertEqual(outcome.code, USAGE, outcome.err)
        self.assertRegex(outcome.err, r"\Awinnow: [^\n]+\n\Z")
        for part in says:
            self.assertIn(part, outcome.err)


class OriginTest(SettingsTest):
    def testDefaults(self):
        settings = self.settings()
        self.assertEqual(settings["max-sequences"], ("8", "default"))
        self.assertEqual(settings["listen"], (["127.0.0.1:7700"], "default"))
        self.assertEqual(settings["max-deadline"], ("30m", "default"))
        self.assertNotIn("prefill", settings)  # of the gateway alone

    def testFlagsGoOverVariablesOverTheFile(self):
        path = self.file(
            "winnow.yaml",
            "max-sequences: 3\nmax-queue: 5\nlease-ttl: 90s\n"
            "listen: ['127.0.0.1:1', 'unix:/tmp/x']\n",
        )
        with with_environment(
            WINNOW_CONFIG=str(path),
            WINNOW_MAX_QUEUE="6",
            WINNOW_LEASE_TTL="80s",
        ):
            settings = self.settings("--lease-ttl", "70s")
        self.assertEqual(settings["max-sequences"], ("3", f"file {path}:1"))
        self.assertEqual(
            settings["max-queue"], ("6", "environment WINNOW_MAX_QUEUE")
        )
        self.assertEqual(settings["lease-ttl"], ("1m10s", "flag"))
        self.assertEqual(
            settings["listen"],
            (["127.0.0.1:1", "unix:/tmp/x"], f"file {path}:4"),
        )
        self.assertEqual(settings["max-streams"], ("256", "default"))

    def testOneFileServesAllRoles(self):
        path = self.file("all.yaml", "prefill: host:1\nstore-size: 2MiB\n")
        config = ("--config", path, "--role")
        gateway = self.settings(*config, "gateway")
        store = self.settings(*config, "store")
        self.assertEqual(gateway["prefill"][0], "host:1")
        self.assertNotIn("store-size", gateway)
        self.assertEqual(store["store-size"][0], "2MiB")
        self.assertNotIn("prefill", store)

    def testWhatIsPrintedIsWhatIsServed(self):
        path = self.file("store.yaml", "store-size: 3MiB\nmax-streams: 7\n")
        role = self.start("store", "--config", path)
        self.assertIn("store 3MiB; streams 7;", role.text())
        self.assertEqual(
            role.metric("winnow_store_capacity_bytes", tier="host"), 3 << 20
        )


class WrongSettingTest(SettingsTest):
    def testUnknownNames(self):
        path = self.file("wrong.yaml", "max-queue: 1\nlease_tl: 2m\n")
        self.refused(
            (f"{path}:2", "lease_tl", "did you mean lease-ttl?"),
            *("store", "--config", path),
        )
        with with_environment(WINNOW_STORE_SIZES="1GiB"):
            self.refused(("did you mean WINNOW_STORE_SIZE?",), "store")
        self.refused(("--max-queues",), "serve", "--max-queues", "1")
        self.refused(("--max-queue",), "store", "--max-queue", "1")

    def testValues(self):
        for flag, value, says in (
            ("--lease-ttl", "2", "lease-ttl"),
            ("--lease-ttl", "1ms", "lease-ttl"),
            ("--store-size", "1", "store-size"),
            ("--store-size", "1 potato", "store-size"),
            ("--store-size", "-1GiB", "store-size"),
            ("--max-streams", "0", "max-streams"),
            ("--max-streams", "99999", "max-streams"),
            ("--log-level", "loud", "log-level"),
            ("--listen", "nowhere", "listen"),
        ):
            with self.subTest(flag=flag, value=value):
                self.refused((says,), "store", f"{flag}={value}")
                name = flag[2:].upper().replace("-", "_")
                with with_environment(**{f"WINNOW_{name}": value}):
                    self.refused((f"WINNOW_{name}",), "store")
                path = self.file("one.yaml", f"{flag[2:]}: '{value}'\n")
                self.refused((says,), "store", "--config", path)

    def testValuesThatDoNotGoTogether(self):
        self.refused(
            ("default-deadline is 31m", "max-deadline"),
            *("store", "--default-deadline", "31m"),
        )
        self.refused(
            ("yield-chunk is 100", "prefill-chunk, 64"),
            *("serve", "--yield-chunk", "100", "--prefill-chunk", "64"),
        )

    def testFilesThatAreNone(self):
        self.refused(("a: b",), "store", "--config", self.file("a: b", "- x"))
        self.refused((), "store", "--config", self.file("b", "max-queue: {"))
        self.refused((), "store", "--config", self.file("c", b"\xff\x00"))
        twice = self.file("d", "max-streams: 1\nmax-streams: 2\n")
        self.refused(("max-streams",), "store", "--config", twice)
        huge = self.file("e", "#" * (64 << 20))
        self.refused((str(huge),), "store", "--config", huge)
        missing = self.run_winnow("store", "--config", self.folder / "none")
        self.assertEqual(missing.code, 3)  # not found
        self.assertIn("none", missing.err)


class ReadyLineTest(SettingsTest):
    def testPortsAndLimits(self):
        server = self.start(
            *("serve", "--model", self.chat_model(), "--threads", "1"),
            *("--store-size", "5MiB", "--decode-memory", "4MiB"),
            *("--max-sequences", "3", "--max-streams", "9"),
            *("--default-deadline", "7s", "--max-deadline", "8s"),
            *("--listen", self.socket("second")),
        )
        (line,) = [text for text in server.log if " ready: " in text]
        self.assertRegex(
            line,
            r"winnow serve ready: grpc 127\.0\.0\.1:[1-9]\d*, "
            r"unix:[^;]*second\.sock; "
            r"metrics http://127\.0\.0\.1:[1-9]\d*/metrics; "
            r"model tiny; threads 1; store 5MiB; sequences 3; "
            r"decode memory 4MiB; streams 9; deadline 7s, at most 8s\n\Z",
        )

    def testLinesInJson(self):
        role = self.start("store", "--log-format", "json")
        role.stop()
        lines = [json.loads(line) for line in role.log]
        self.assertEqual(lines[-1]["message"], "stopped")
        self.assertEqual(lines[-1]["code"], "OK")
        self.assertEqual({line["level"] for line in lines}, {"info"})


if __name__ == "__main__":
    winnow_cli.main()
