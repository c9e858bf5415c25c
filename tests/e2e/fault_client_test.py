"""Clients that vanish, that do not read, and that are too many."""
import time

import fault_cluster
import grpc
import winnow_cli

CANCELLED = grpc.StatusCode.CANCELLED
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
# A window of a few bytes: a server can send hardly anything ahead.
SMALL_WINDOW = [
    ("grpc.http2.lookahead_bytes", 5),
    ("grpc.http2.bdp_probe", 0),
]


class VanishingClientTest(fault_cluster.FaultTest):
    def setUp(self):
        super().setUp()
        self.launch_all(decode=("--max-sequences", "1"))

    def assert_others_are_served(self):
        self.assert_nothing_left(timeout_s=10)
        self.assertEqual(self.ask().ids, self.expected_ids())
        self.assert_nothing_left()

    def testKilledInMidPrefill(self):
        client = self.vanishing_client(fault_cluster.LONG, max_tokens=100)
        self.eventually(
            lambda: self.prefill.metric("winnow_prefill_running") == 1
        )
        client.kill()
        self.assert_others_are_served()

    def testKilledInMidStream(self):
        client = self.vanishing_client(fault_cluster.SHORT)
        for _ in range(20):
            client.stdout.readline()
        self.assertEqual(self.decode.metric("winnow_decode_running"), 1)
        client.kill()
        self.assert_others_are_served()

    def testKilledInTheQueueOfPrefill(self):
        first = self.start_prefill(num_tokens=6000)
        self.eventually(
            lambda: self.prefill.metric("winnow_prefill_running") == 1
        )
        client = self.vanishing_client(fault_cluster.SHORT)
        self.eventually(
            lambda: self.prefill.metric("winnow_prefill_queue_depth") == 1
        )
        client.kill()
        self.eventually(
            lambda: self.prefill.metric("winnow_prefill_queue_depth") == 0,
            timeout_s=2,
        )
        self.assertFalse(first.done(), "the queue was left by being served")
        first.cancel()
        self.assert_others_are_served()

    def testKilledInTheQueueOfDecode(self):
        running = self.start_asking(max_tokens=2000)
        self.eventually(
            lambda: self.decode.metric("winnow_decode_running") == 1
        )
        client = self.vanishing_client(fault_cluster.SHORT)
        self.eventually(
            lambda: self.decode.metric("winnow_decode_queue_depth") == 1
        )
        client.kill()
        self.eventually(
            lambda: self.decode.metric("winnow_decode_queue_depth") == 0,
            timeout_s=2,
        )
        self.assertTrue(running.is_active())
        running.cancel()
        self.assert_others_are_served()

    def testChannelClosedInMidStream(self):
        channel = grpc.insecure_channel(self.gateway.address)
        stub = self.wire.generation_rpc.GenerationServiceStub(channel)
        events = stub.Generate(self.question(max_tokens=2000), timeout=60)
        while not next(events).HasField("token"):
            pass
        channel.close()
        self.assert_others_are_served()


class SlowReaderTest(fault_cluster.FaultTest):
    STALL = ("--stream-stall-timeout", "2s")

    def testSlowReaderOfDecodeIsEndedAndOthersGoOn(self):
        self.launch_all(decode=self.STALL, lease_ttl="20s")
        slow = self.start_decode(
            self.start_prefill().result(), 2000, options=SMALL_WINDOW
        )
        self.eventually(
            lambda: self.decode.metric("winnow_decode_running") == 1
        )
        # Others take part in the batch, at the same time and to the end.
        expected = self.expected_ids(max_tokens=100)
        self.assertEqual(self.ask(max_tokens=100).ids, expected)
        self.eventually(
            lambda: self.decode.metric("winnow_decode_running") == 0,
            timeout_s=5,
        )
        self.fails([CANCELLED, DEADLINE_EXCEEDED], lambda: list(slow), 5)
        self.assert_nothing_left()

    def testSlowReaderOfTheGatewayIsEnded(self):
        self.launch_all(gateway=self.STALL)
        channel = grpc.insecure_channel(
            self.gateway.address, options=SMALL_WINDOW
        )
        self.addCleanup(channel.close)
        stub = self.wire.generation_rpc.GenerationServiceStub(channel)
        slow = stub.Generate(self.question(max_tokens=4000), timeout=60)
        while not next(slow).HasField("token"):
            pass
        self.eventually(
            lambda: self.decode.metric("winnow_decode_running") == 1
        )
        self.assertEqual(self.ask().ids, self.expected_ids())
        self.eventually(
            lambda: self.gateway.metric("winnow_gateway_active_streams") == 0,
            timeout_s=8,
        )
        self.fails([CANCELLED, DEADLINE_EXCEEDED], lambda: list(slow), 5)
        self.assert_nothing_left()

    def testSlowReaderOfTheStoreIsEnded(self):
        self.launch("store", *self.STALL)
        self.launch(
            "prefill", "--store", self.store.address, "--lease-ttl", "20s"
        )
        manifest = self.start_prefill().result().manifest
        channel = grpc.insecure_channel(
            self.store.address, options=SMALL_WINDOW
        )
        self.addCleanup(channel.close)
        stub = self.wire.store_rpc.CacheStoreServiceStub(channel)
        slow = stub.Read(
            self.wire.store.ReadRequest(
                lease_id=manifest.lease.id,
                keys=[segment.key for segment in manifest.segments],
            ),
            timeout=30,
        )
        read = "winnow_rpc_in_flight"
        self.eventually(lambda: self.store.metric(read, method="Read") == 1)
        self.eventually(
            lambda: self.store.metric(read, method="Read") == 0, timeout_s=5
        )
        self.fails([CANCELLED, DEADLINE_EXCEEDED], lambda: list(slow), 5)
        self.store_stub().Release(
            self.wire.store.ReleaseRequest(lease_id=manifest.lease.id)
        )
        self.assert_nothing_left()


class QueueTest(fault_cluster.FaultTest):
    def testPrefillRefusesWhatDoesNotFitItsQueue(self):
        self.launch_all(prefill=("--max-queue", "1"), lease_ttl="3s")
        calls = [
            self.start_prefill(num_tokens=3000, salt=31 + i) for i in range(6)
        ]
        errors = [e for e in (call.exception() for call in calls) if e]
        self.assertEqual(len(errors), 4)
        for error in errors:
            self.assertEqual(error.code(), RESOURCE_EXHAUSTED, error)
            self.assert_hint(error)
        self.assert_nothing_left()

    def testTheGatewayPassesTheHintOn(self):
        self.launch_all(prefill=("--max-queue", "0"), lease_ttl="3s")
        first = self.start_prefill(num_tokens=6000)
        self.eventually(
            lambda: self.prefill.metric("winnow_prefill_running") == 1
        )
        self.assert_hint(self.fails([RESOURCE_EXHAUSTED], self.ask, 2))
        self.assertFalse(first.done())
        first.cancel()
        self.assert_nothing_left()

    def testDecodeRefusesWhatWaitsTooLong(self):
        self.launch_all(
            decode=(
                *("--max-sequences", "1", "--max-queue", "1"),
                *("--queue-timeout", "1s"),
            )
        )
        running = self.start_asking(max_tokens=2000)
        self.eventually(
            lambda: self.decode.metric("winnow_decode_running") == 1
        )
        waiting = self.start_asking()
        self.eventually(
            lambda: self.decode.metric("winnow_decode_queue_depth") == 1
        )
        began = time.monotonic()
        self.assert_hint(
            self.fails([RESOURCE_EXHAUSTED], lambda: self.ask(), 1)
        )
        self.assert_hint(
            self.fails([RESOURCE_EXHAUSTED], lambda: list(waiting), 3)
        )
        self.assertGreater(time.monotonic() - began, 0.5)
        self.assertTrue(running.is_active())
        running.cancel()
        self.assert_nothing_left()


if __name__ == "__main__":
    winnow_cli.main()
