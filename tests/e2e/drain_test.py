"""SIGTERM: health first, running streams to their end, then exit code 0."""
import signal
import time

import grpc
import standard_services
import winnow_cli
import winnow_cluster


class DrainTest(winnow_cluster.ClusterTest):
    def begin(self, server, max_tokens):
        """A running stream, of which three tokens have come."""
        request = winnow_cluster.stubs().generation.GenerateRequest(
            prompt="Count.", max_tokens=max_tokens, ignore_eos=True
        )
        stream = self.generation(server).Generate(request, timeout=100)
        self.assertEqual(next(stream).WhichOneof("event"), "accepted")
        for _ in range(3):
            self.assertEqual(next(stream).WhichOneof("event"), "token")
        return stream

    def terminate(self, server):
        server.process.send_signal(signal.SIGTERM)
        self.eventually(lambda: "draining" in server.text())

    def testHealthFirstThenTheRunningStreamThenTheEnd(self):
        server = self.start("serve")
        channel = self.channel(server.address)
        watch = standard_services.watch_health(channel)
        self.assertEqual(next(watch), standard_services.SERVING)
        running = self.begin(server, 160)

        self.terminate(server)
        self.assertEqual(next(watch), standard_services.NOT_SERVING)
        self.assertEqual(
            standard_services.health(channel, "winnow.v1.GenerationService"),
            standard_services.NOT_SERVING,
        )
        late = self.generation(server).Generate(
            winnow_cluster.stubs().generation.GenerateRequest(prompt="Hi"),
            timeout=20,
        )
        error = self.rpc_error(lambda: list(late))
        self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertIn("draining", error.details())

        events = list(running)
        finished = events[-1].finished
        self.assertEqual(finished.usage.completion_tokens, 160)
        self.assertEqual(len(events), 160 - 3 + 1)
        self.assertEqual(server.join(), 0)
        self.assertIn("stopped code=OK", server.text())

    def testASecondSignalEndsAtOnce(self):
        server = self.start("serve")
        running = self.begin(server, 4000)
        self.terminate(server)
        began = time.monotonic()
        self.assertEqual(server.stop(), -signal.SIGTERM)
        self.assertLess(time.monotonic() - began, 5)
        error = self.rpc_error(lambda: list(running))
        self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)

    def testTheDrainHasALimit(self):
        server = self.start("serve", "--drain-timeout", "800ms")
        running = self.begin(server, 4000)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        error = self.rpc_error(lambda: list(running))
        self.assertIn(
            error.code(),
            (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED),
        )
        self.assertEqual(server.join(20), 0)
        took = time.monotonic() - began
        self.assertGreater(took, 0.7)
        self.assertLess(took, 10)
        self.assertIn("stopped code=DEADLINE_EXCEEDED", server.text())

    def testEveryRoleDrains(self):
        roles = vars(self.start_split(model=self.chat_model(), gateway=True))
        for name, role in roles.items():
            with self.subTest(role=name):
                self.assertEqual(role.stop(10), 0)
                self.assertIn("stopped code=OK", role.text())


if __name__ == "__main__":
    winnow_cli.main()
