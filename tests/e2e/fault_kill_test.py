"""Prefill and decode are killed while they work."""
import threading

import fault_cluster
import fault_proxy
import grpc
import winnow_cli

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
REBUILT = "winnow_gateway_recomputed_prefills_total"
RESIDENT_SLACK_BYTES = 24 << 20


class PrefillKilledTest(fault_cluster.FaultTest):
    def nothing_visible(self):
        """Neither reserved nor half visible, and nothing on lease."""
        stats = self.stats()
        self.assertEqual((stats.segments, stats.used_bytes), (0, 0))
        listed = self.store_stub().List(
            self.wire.store.ListRequest(), timeout=10
        )
        self.assertEqual(len(listed.segments), 0)

    def works_again(self, context=fault_cluster.SHORT):
        """Prefill comes back, and the next request gives the right tokens."""
        self.launch("prefill", *self._arguments["prefill"])
        self.eventually(self.prefill_is_found)
        self.assertEqual(self.ask(context).ids, self.expected_ids(context))
        self.assert_nothing_left()

    def prefill_is_found(self):
        """The gateway waits a little before it connects again."""
        try:
            self.ask(fault_cluster.items(2), max_tokens=1, timeout=10)
            return True
        except grpc.RpcError as error:
            self.assertEqual(error.code(), UNAVAILABLE, error)
            return False

    def testKilledInMidPrefill(self):
        self.launch_all()
        events = self.start_asking(fault_cluster.LONG, timeout=30)
        self.assertTrue(next(events).HasField("accepted"))
        self.eventually(lambda: self.stats().reserved_bytes > 0)
        self.prefill.kill()
        error = self.fails([UNAVAILABLE], lambda: list(events), 10)
        self.assertIn(self.prefill.address, error.details())
        self.assert_nothing_left(timeout_s=5)
        self.nothing_visible()
        self.works_again()

    def testKilledInMidWrite(self):
        listen = self.socket("proxy")
        proxy = fault_proxy.FaultProxy(
            listen, self.socket("store"), self.wire
        )
        self.addCleanup(proxy.close)
        self.launch_all(prefill_store=listen)
        proxy.arm("Write", proxy.stall)
        events = self.start_asking(timeout=30)
        # Some segments are in the store, the next one is on its way.
        self.assertTrue(proxy.stalled.wait(20))
        self.assertGreater(self.stats().reserved_bytes, 0)
        self.prefill.kill()
        self.fails([UNAVAILABLE], lambda: list(events), 10)
        self.assert_nothing_left(timeout_s=5)
        self.nothing_visible()
        self.works_again()


class DecodeKilledTest(fault_cluster.FaultTest):
    def first_tokens(self, events, count):
        ids = []
        while len(ids) < count:
            event = next(events)
            if event.HasField("token"):
                ids.append(event.token.id)
        return ids

    def testRestartedAtOnceGivesTheSameAnswer(self):
        self.launch_all()
        expected = self.expected_ids(max_tokens=400)
        events = self.start_asking(max_tokens=400)
        ids = self.first_tokens(events, 20)
        # The gateway sees the old one go when the new one is there.
        self.gateway.pause()
        self.restart("decode")
        self.gateway.resume()
        ids += [e.token.id for e in events if e.HasField("token")]
        self.assertEqual(ids, expected)
        self.assertEqual(self.gateway.metric(REBUILT), 1)
        self.assert_nothing_left()

    def testThatStaysAwayIsUnavailable(self):
        self.launch_all()
        self.ask()
        resident = self.gateway.resident_bytes()
        events = self.start_asking(max_tokens=400, timeout=30)
        self.first_tokens(events, 20)
        self.decode.kill()
        error = self.fails([UNAVAILABLE], lambda: list(events), 10)
        self.assertIn(self.decode.address, error.details())
        self.assert_nothing_left()
        self.assertLess(
            self.gateway.resident_bytes(), resident + RESIDENT_SLACK_BYTES
        )

    def testItsLeaseEndsByTime(self):
        self.launch_all()
        prefilled = self.start_prefill().result()
        tokens = self.start_decode(prefilled, max_tokens=400)
        next(tokens)
        self.decode.kill()
        self.fails([UNAVAILABLE], lambda: list(tokens), 5)
        self.assertEqual(self.stats().leases, 1)  # nobody ended it
        self.assert_nothing_left(timeout_s=6)
        self.launch("decode", *self._arguments["decode"])
        again = list(self.start_decode(self.start_prefill().result()))
        self.assertTrue(again[-1].HasField("finished"))
        self.assert_nothing_left()

    def testStoppedOnPurposeFinishesWhatRuns(self):
        self.launch_all()
        expected = self.expected_ids(max_tokens=100)
        events = self.start_asking(max_tokens=100)
        ids = self.first_tokens(events, 10)
        codes = []
        stopping = threading.Thread(
            target=lambda: codes.append(self.decode.stop())
        )
        stopping.start()
        ids += [e.token.id for e in events if e.HasField("token")]
        stopping.join()
        self.assertEqual((ids, codes), (expected, [0]))
        self.assertEqual(self.gateway.metric(REBUILT), 0)
        self.assert_nothing_left()


class MemoryTest(fault_cluster.FaultTest):
    def testManyBrokenRequestsLeaveNoMemory(self):
        self.launch_all()
        roles = (self.store, self.prefill, self.decode, self.gateway)
        for _ in range(3):
            self.ask(max_tokens=64)
        before = [role.resident_bytes() for role in roles]
        for turn in range(30):
            events = self.start_asking(max_tokens=2000)
            for _ in range(turn):
                next(events)
            events.cancel()
        self.assert_nothing_left()
        after = [role.resident_bytes() for role in roles]
        for role, was, now in zip(fault_cluster.ROLES, before, after):
            self.assertLess(now, was + RESIDENT_SLACK_BYTES, role)


if __name__ == "__main__":
    winnow_cli.main()
