"""Many callers at once: held, or refused with a hint; none waits for ever."""
import collections
import resource
import socket
import threading
import time

import grpc
import winnow_cli
import winnow_cluster

CONNECTIONS = 1000
STREAMS = 200
# RFC 9113: the client's preface and a SETTINGS frame without settings.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4\0" + bytes(4)
Outcome = collections.namedtuple("Outcome", "code text hint")


def allow_files(count):
    """Lets this process and its children open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class LoadTest(winnow_cluster.ClusterTest):
    def setUp(self):
        super().setUp()
        self.wire = winnow_cluster.stubs()
        allow_files(4 * CONNECTIONS)

    def begin(self, stub, **fields):
        request = self.wire.generation.GenerateRequest(
            **{"prompt": "Hi", "max_tokens": 8, "ignore_eos": True, **fields}
        )
        return stub.Generate(request, timeout=100)

    def outcome(self, stream):
        """How a stream ended; within its deadline it always does."""
        try:
            text = "".join(e.token.text + e.finished.text for e in stream)
            return Outcome(grpc.StatusCode.OK, text, None)
        except grpc.RpcError as error:
            trailers = dict(error.trailing_metadata())
            hint = trailers.get("grpc-retry-pushback-ms")
            return Outcome(error.code(), error.details(), hint)

    def outcomes(self, streams):
        results = [None] * len(streams)

        def wait(index):
            results[index] = self.outcome(streams[index])

        threads = [
            threading.Thread(target=wait, args=(index,), daemon=True)
            for index in range(len(streams))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        self.assertNotIn(None, results, "a stream hangs")
        return results

    def testAThousandIdleConnections(self):
        server = self.start("serve", "--model", self.chat_model())
        stub = self.generation(server)
        alone = self.outcome(self.begin(stub))
        before = server.open_files()
        memory = server.resident_bytes()
        host, _, port = server.address.rpartition(":")
        idle = []
        for _ in range(CONNECTIONS):
            connection = socket.create_connection((host, int(port)), 20)
            self.addCleanup(connection.close)
            connection.sendall(PREFACE)
            idle.append(connection)
        for connection in idle:
            self.assertNotEqual(connection.recv(1), b"")  # its SETTINGS
        self.assertGreaterEqual(server.open_files(), before + CONNECTIONS)
        self.assertEqual(self.outcome(self.begin(stub)), alone)
        self.assertLess(
            (server.resident_bytes() - memory) / CONNECTIONS, 256 << 10
        )
        for connection in idle:
            connection.close()
        self.eventually(lambda: server.open_files() <= before + 8)
        self.assertEqual(self.outcome(self.begin(stub)), alone)

    def testTwoHundredStreamsAreHeld(self):
        # Decode is stopped meanwhile, so that not one can end early.
        config = self.file(
            "all.yaml", f"max-queue: {STREAMS}\nmax-sequences: {STREAMS}\n"
        )
        roles = self.start_split(
            "--config", config, model=self.chat_model(), gateway=True
        )
        stub = self.generation(roles.gateway)
        alone = self.outcome(self.begin(stub, max_tokens=40))
        self.assertEqual(alone.code, grpc.StatusCode.OK)
        roles.decode.pause()
        self.addCleanup(roles.decode.resume)
        streams = [
            self.begin(stub, max_tokens=40) for _ in range(STREAMS)
        ]
        held = roles.gateway, "winnow_gateway_active_streams"
        self.eventually(lambda: held[0].metric(held[1]) == STREAMS)
        for stream in streams:  # each has its first token from prefill
            self.assertTrue(next(stream).HasField("accepted"))
            self.assertTrue(next(stream).HasField("token"))
        self.assertEqual(held[0].metric(held[1]), STREAMS)
        roles.decode.resume()
        for result in self.outcomes(streams):
            self.assertEqual(result.code, grpc.StatusCode.OK, result.text)
            # The text without its first token, which was read above.
            self.assertEqual(result.text, alone.text[-len(result.text) :])
            self.assertGreaterEqual(len(result.text), len(alone.text) - 1)
        self.assertGreater(
            roles.decode.metric("winnow_decode_step_tokens_total")
            / roles.decode.metric("winnow_decode_steps_total"),
            4,
        )
        self.expect_nothing_left(*vars(roles).values())

    def testWhatIsTooMuchIsRefusedWithAHint(self):
        server = self.start(
            *("serve", "--model", self.chat_model()),
            *("--max-sequences", "2", "--max-queue", "4"),
            *("--max-streams", "60"),
        )
        stub = self.generation(server)
        alone = self.outcome(self.begin(stub, max_tokens=200))
        server.pause()  # so that all come at once
        streams = [
            self.begin(stub, max_tokens=200) for _ in range(STREAMS)
        ]
        time.sleep(0.5)
        server.resume()
        results = self.outcomes(streams)
        self.expect_nothing_left(server)
        codes = collections.Counter(result.code for result in results)
        self.assertEqual(
            set(codes),
            {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED},
            codes,
        )
        for result in results:
            if result.code == grpc.StatusCode.OK:
                self.assertEqual(result, alone)
            else:
                self.assertGreater(int(result.hint), 0)
                self.assertRegex(result.text, "again|later|retry")
        self.assertEqual(self.outcome(self.begin(stub, max_tokens=200)), alone)


if __name__ == "__main__":
    winnow_cli.main()
