"""Frames that are damaged on their way between a role and the store: the same
tokens as without the fault, or a clear failure; never other tokens."""
import fault_cluster
import fault_proxy
import frame_faults
import grpc
import winnow_cli

ABORTED = grpc.StatusCode.ABORTED
REBUILT = "winnow_gateway_recomputed_prefills_total"
# Faults of a Read, and the reason of the miss that they become.
READ_FAULTS = [
    (frame_faults.flip_byte, "corrupt"),
    (frame_faults.flip_byte_and_seal, "corrupt"),
    (frame_faults.swap_contents, "identity"),
    (frame_faults.truncate, "corrupt"),
    (frame_faults.truncate_and_seal, "corrupt"),
    (frame_faults.too_many_bytes, "corrupt"),
    (frame_faults.wrong_segment, "corrupt"),
    (frame_faults.wrong_offset, "corrupt"),
    (frame_faults.huge_frame, "corrupt"),
    (frame_faults.huge_segment, "corrupt"),
    (frame_faults.reorder, "corrupt"),
    (frame_faults.repeat, "corrupt"),
    (frame_faults.cut, "corrupt"),
    (frame_faults.break_off, "unreachable"),
]
# Faults of a Write, and where the store counts them.
REFUSED = "winnow_store_frames_refused_total"
DAMAGED = "winnow_store_integrity_failures_total"
ENDED = "winnow_rpc_requests_total"
WRITE_FAULTS = [
    (frame_faults.flip_byte, REFUSED, {"reason": "checksum"}),
    (frame_faults.flip_byte_and_seal, DAMAGED, {}),
    (frame_faults.swap_contents, DAMAGED, {}),
    (frame_faults.truncate, REFUSED, {"reason": "checksum"}),
    (frame_faults.truncate_and_seal, REFUSED, {"reason": "protocol"}),
    (frame_faults.too_many_bytes, REFUSED, {"reason": "protocol"}),
    (frame_faults.wrong_segment, REFUSED, {"reason": "protocol"}),
    (frame_faults.wrong_offset, REFUSED, {"reason": "protocol"}),
    # gRPC refuses it, before there is a frame: to the store the stream ends.
    (frame_faults.huge_frame, ENDED, {"method": "Write", "code": "CANCELLED"}),
    (frame_faults.reorder, REFUSED, {"reason": "protocol"}),
    (frame_faults.repeat, REFUSED, {"reason": "protocol"}),
]


class FrameFaultTest(fault_cluster.FaultTest):
    def proxy(self, **roles):
        """Starts everything, with a proxy before the store for some roles."""
        listen = self.socket("proxy")
        self.broken = fault_proxy.FaultProxy(
            listen, self.socket("store"), self.wire
        )
        self.addCleanup(self.broken.close)
        self.launch_all(
            prefill=("--store-deadline", "2s"),
            decode=("--store-deadline", "2s"),
            **{f"{role}_store": listen for role in roles if roles[role]},
        )

    def testDamagedReadsOfDecodeAreRepaired(self):
        self.proxy(decode=True)
        expected = self.expected_ids()
        self.assertEqual(self.ask().ids, expected)
        self.assertEqual(self.gateway.metric(REBUILT), 0)
        for number, (fault, reason) in enumerate(READ_FAULTS, 1):
            with self.subTest(fault=fault.__name__):
                before = self.decode.metric(
                    "winnow_decode_misses_total", reason=reason
                )
                self.broken.arm("Read", fault)
                answer = self.ask()
                self.assertEqual(self.broken.fired[fault.__name__], 1)
                self.assertEqual(answer.ids, expected)
                self.assertEqual(answer.finished.usage.prefills, 2)
                self.assertEqual(self.gateway.metric(REBUILT), number)
                self.assertEqual(
                    self.decode.metric(
                        "winnow_decode_misses_total", reason=reason
                    ),
                    before + 1,
                )
                self.assert_nothing_left()

    def testDamagedReadsOfDecodeAreAborted(self):
        self.proxy(decode=True)
        for fault, _ in READ_FAULTS:
            with self.subTest(fault=fault.__name__):
                prefilled = self.start_prefill().result()
                self.broken.arm("Read", fault)
                tokens = self.start_decode(prefilled)
                error = self.fails([ABORTED], lambda: list(tokens), 10)
                self.assertIn("prefill", error.details())
                self.assertEqual(self.broken.fired[fault.__name__], 1)
                self.assert_nothing_left()

    def testReadsThatAreAlwaysDamagedFailClearly(self):
        self.proxy(decode=True)
        self.broken.arm("Read", frame_faults.flip_byte, times=100)
        error = self.fails([ABORTED], self.ask, 30)
        self.assertIn("prefill", error.details())
        self.assertEqual(self.broken.fired["flip_byte"], 2)
        self.assertEqual(self.gateway.metric(REBUILT), 1)
        self.assert_nothing_left()
        self.broken.disarm()
        self.assertEqual(self.ask().ids, self.expected_ids())

    def testDamagedReadsOfPrefillAreComputedAgain(self):
        self.proxy(prefill=True)
        expected = self.expected_ids()
        self.assertEqual(self.ask().ids, expected)
        self.assertGreater(self.ask().finished.usage.reused_tokens, 0)
        misses = "winnow_prefill_misses_total"
        self.assertEqual(self.prefill.metric(misses), 0)
        for number, (fault, reason) in enumerate(READ_FAULTS, 1):
            with self.subTest(fault=fault.__name__):
                before = self.prefill.metric(misses, reason=reason)
                self.broken.arm("Read", fault)
                answer = self.ask()
                self.assertEqual(self.broken.fired[fault.__name__], 1)
                self.assertEqual(answer.ids, expected)
                self.assertEqual(answer.finished.usage.reused_tokens, 0)
                self.assertEqual(
                    self.prefill.metric(misses, reason=reason), before + 1
                )
                self.assertEqual(self.prefill.metric(misses), number)
                self.assert_nothing_left()

    def testDamagedWritesOfPrefillAreNeverServed(self):
        self.proxy(prefill=True)
        expected = self.expected_ids()
        for fault, family, labels in WRITE_FAULTS:
            with self.subTest(fault=fault.__name__):
                self.empty_the_store()
                before = self.store.metric(family, **labels)
                self.broken.arm("Write", fault)
                answer = self.ask()
                self.assertEqual(self.broken.fired[fault.__name__], 1)
                self.assertEqual(answer.ids, expected)
                self.assertEqual(answer.finished.usage.prefills, 2)
                self.assertEqual(
                    self.store.metric(family, **labels), before + 1
                )
                self.assert_nothing_left()

    def testAWriteThatIsAlwaysDamagedLeavesNothing(self):
        self.proxy(prefill=True)
        self.broken.arm("Write", frame_faults.flip_byte, times=100)
        self.fails([ABORTED, grpc.StatusCode.UNAVAILABLE], self.ask, 30)
        self.assert_nothing_left()
        stats = self.stats()
        self.assertEqual((stats.segments, stats.used_bytes), (0, 0))

    def testAReadThatStallsIsAskedForAgain(self):
        self.proxy(decode=True)
        expected = self.expected_ids()
        self.broken.arm("Read", self.broken.stall)
        answer = self.ask()
        self.assertTrue(self.broken.stalled.is_set())
        self.assertEqual(answer.ids, expected)
        self.assertEqual(answer.finished.usage.prefills, 2)
        self.assertEqual(
            self.decode.metric("winnow_decode_misses_total", reason="timeout"),
            1,
        )
        self.assert_nothing_left()

    def testReadsThatAlwaysStallEndAtTheDeadline(self):
        self.proxy(decode=True)
        self.ask()  # prefill is quick from now on
        self.broken.arm("Read", self.broken.stall, times=100)
        error = self.fails(
            [grpc.StatusCode.DEADLINE_EXCEEDED], lambda: self.ask(timeout=3), 4
        )
        self.assertTrue(self.broken.stalled.is_set(), error)
        self.assert_nothing_left()


if __name__ == "__main__":
    winnow_cli.main()
