"""The store is down, full, slow, or loses everything between write and read."""
import threading
import time

import fault_cluster
import grpc
import winnow_cli

ABORTED = grpc.StatusCode.ABORTED
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
REBUILT = "winnow_gateway_recomputed_prefills_total"


class StoreFaultTest(fault_cluster.FaultTest):
    def testStoreThatIsDown(self):
        self.launch_all()
        expected = self.expected_ids()
        self.store.kill()
        error = self.fails([UNAVAILABLE], lambda: self.ask(timeout=10), 10)
        self.assertIn(self.store.address, error.details())
        self.assertIn("see that it runs", error.details())
        error = self.fails(
            [UNAVAILABLE], self.start_prefill(timeout=10).result, 10
        )
        self.assertIn(self.store.address, error.details())
        self.restart("store")
        self.eventually(self.answers)
        self.assertEqual(self.ask().ids, expected)
        self.assert_nothing_left()

    def answers(self):
        """Whether the store is found again: channels wait before they try."""
        try:
            self.start_prefill(num_tokens=64, timeout=10).result()
            return True
        except grpc.RpcError as error:
            self.assertEqual(error.code(), UNAVAILABLE, error)
            return False

    def testContextLargerThanTheStore(self):
        self.launch_all(store=("--store-size", "6MiB"))
        error = self.fails([RESOURCE_EXHAUSTED], self.ask, 10)
        # No wait helps: no hint, but the numbers and the setting.
        hints = [k for k, _ in error.trailing_metadata()]
        self.assertNotIn(fault_cluster.HINT, hints, error)
        self.assertRegex(error.details(), r"needs \d{7,} bytes")
        self.assertIn(f"holds {6 << 20} bytes", error.details())
        self.assertIn("--store-size", error.details())
        stats = self.stats()
        self.assertEqual((stats.segments, stats.used_bytes), (0, 0))
        self.assert_nothing_left()
        # What fits is answered.
        small = fault_cluster.items(20)
        self.assertEqual(self.ask(small).ids, self.expected_ids(small))
        self.assert_nothing_left()

    def testStoreFullOfLeasesHasRoomWhenTheyEnd(self):
        self.launch_all(store=("--store-size", "20MiB"))
        first = self.start_prefill().result()  # 14 MiB, leased
        error = self.fails(
            [RESOURCE_EXHAUSTED], self.start_prefill(salt=41).result, 10
        )
        self.assert_hint(error)
        self.assertGreater(first.manifest.lease.id, 0)
        self.eventually(lambda: self.stats().leases == 0)
        self.start_prefill(salt=41).result()
        self.assertGreater(self.stats().evictions, 0)
        self.assert_nothing_left()

    def testSlowStoreOnlyCostsTime(self):
        self.launch_all()
        expected = self.expected_ids()
        self.store.pause()
        threading.Timer(1.5, self.store.resume).start()
        began = time.monotonic()
        self.assertEqual(self.ask(timeout=30).ids, expected)
        self.assertGreater(time.monotonic() - began, 1.5)
        self.assert_nothing_left()

    def testStoreThatIsSlowerThanTheDeadline(self):
        self.launch_all(prefill=("--store-deadline", "5s"))
        expected = self.expected_ids()
        self.store.pause()
        self.fails(
            [DEADLINE_EXCEEDED, UNAVAILABLE], lambda: self.ask(timeout=2), 4
        )
        self.store.resume()
        self.assert_nothing_left()
        self.assertEqual(self.ask().ids, expected)
        self.assert_nothing_left()

    def testStoreThatNeverAnswersEndsAtItsOwnDeadline(self):
        self.launch_all(prefill=("--store-deadline", "1s"))
        self.store.pause()
        error = self.fails(
            [DEADLINE_EXCEEDED, UNAVAILABLE], lambda: self.ask(timeout=30), 5
        )
        self.assertIn(self.store.address, error.details())
        self.store.resume()
        self.assert_nothing_left()

    def testStoreRestartedBetweenWriteAndRead(self):
        self.launch_all()
        prefilled = self.start_prefill().result()
        without_fault = [
            event.token.id
            for event in self.start_decode(prefilled)
            if event.HasField("token")
        ]
        prefilled = self.start_prefill().result()
        self.restart("store")
        error = self.fails(
            [ABORTED, UNAVAILABLE],
            lambda: self.decode_when_connected(prefilled),
            10,
        )
        self.assertEqual(error.code(), ABORTED)
        self.assertIn("prefill", error.details())
        prefilled = self.start_prefill().result()
        again = [
            event.token.id
            for event in self.start_decode(prefilled)
            if event.HasField("token")
        ]
        self.assertEqual(len(again), 32)
        self.assertEqual(again, without_fault)
        self.assert_nothing_left()

    def decode_when_connected(self, prefilled):
        """Decodes; asks again while decode has not found the new store."""
        end = time.monotonic() + 8
        while True:
            try:
                return list(self.start_decode(prefilled))
            except grpc.RpcError as error:
                if error.code() != UNAVAILABLE or time.monotonic() > end:
                    raise
            time.sleep(0.1)

    def testGatewayPrefillsAgainAfterAStoreWasRestarted(self):
        # Decode is paused between write and read; meanwhile the store goes.
        self.launch_all()
        expected = self.expected_ids()
        self.decode.pause()
        events = self.start_asking()
        for event in events:
            if event.HasField("token"):
                break  # prefill is done, and wrote
        self.restart("store")
        self.decode.resume()
        ids = [event.token.id]
        for event in events:
            if event.HasField("token"):
                ids.append(event.token.id)
        self.assertEqual(ids, expected)
        self.assertEqual(event.finished.usage.prefills, 2)
        self.assertEqual(self.gateway.metric(REBUILT), 1)
        self.assert_nothing_left()

    def testStoreKilledInMidPrefill(self):
        self.launch_all()
        asking = self.start_prefill(num_tokens=6000, timeout=20)
        self.eventually(lambda: self.stats().writes_in_flight == 1)
        self.store.kill()
        self.fails([ABORTED, UNAVAILABLE], asking.result, 15)
        self.launch("store")
        self.eventually(self.answers)
        self.assert_nothing_left()


if __name__ == "__main__":
    winnow_cli.main()
