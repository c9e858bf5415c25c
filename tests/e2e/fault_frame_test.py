"""Frames that are damaged on their way between a role and the store: the same
tokens as without the fault, or a clear failure; never other tokens."""
import fault_cluster
import fault_proxy
import grpc
import winnow_cli

ABORTED = grpc.StatusCode.ABORTED
REBUILT = "winnow_gateway_recomputed_prefills_total"
# Faults of a Read, and the reason of the miss that they become.
READ_FAULTS = [
    (fault_proxy.flip_byte, "corrupt"),
    (fault_proxy.flip_byte_and_seal, "corrupt"),
    (fault_proxy.swap_contents, "identity"),
    (fault_proxy.truncate, "unreachable"),
    (fault_proxy.truncate_and_seal, "unreachable"),
    (fault_proxy.too_many_bytes, "unreachable"),
    (fault_proxy.wrong_segment, "unreachable"),
    (fault_proxy.wrong_offset, "unreachable"),
    (fault_proxy.huge_frame, "unreachable"),
    (fault_proxy.huge_segment, "unreachable"),
    (fault_proxy.reorder, "unreachable"),
    (fault_proxy.repeat, "unreachable"),
    (fault_proxy.cut, "unreachable"),
    (fault_proxy.break_off, "unreachable"),
]
# Faults of a Write, and where the store counts them.
REFUSED = "winnow_store_frames_refused_total"
WRITE_FAULTS = [
    (fault_proxy.flip_byte, REFUSED, "checksum"),
    (
        fault_proxy.flip_byte_and_seal,
        "winnow_store_integrity_failures_total",
        None,
    ),
    (fault_proxy.swap_contents, "winnow_store_integrity_failures_total", None),
    (fault_proxy.truncate, REFUSED, "checksum"),
    (fault_proxy.truncate_and_seal, REFUSED, "order"),
    (fault_proxy.too_many_bytes, REFUSED, "order"),
    (fault_proxy.wrong_segment, REFUSED, "order"),
    (fault_proxy.wrong_offset, REFUSED, "order"),
    (fault_proxy.huge_frame, REFUSED, "size"),
    (fault_proxy.reorder, REFUSED, "order"),
    (fault_proxy.repeat, REFUSED, "order"),
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
            prefill=("--lease-ttl", "10s", "--store-deadline", "2s"),
            decode=("--lease-ttl", "10s", "--store-deadline", "2s"),
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
        self.broken.arm("Read", fault_proxy.flip_byte, times=100)
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
        for fault, _ in READ_FAULTS:
            with self.subTest(fault=fault.__name__):
                self.broken.arm("Read", fault)
                answer = self.ask()
                self.assertEqual(self.broken.fired[fault.__name__], 1)
                self.assertEqual(answer.ids, expected)
                self.assertEqual(answer.finished.usage.reused_tokens, 0)
                self.assert_nothing_left()

    def testDamagedWritesOfPrefillAreNeverServed(self):
        self.proxy(prefill=True)
        for number, (fault, family, reason) in enumerate(WRITE_FAULTS):
            with self.subTest(fault=fault.__name__):
                # A context that the store does not have.
                context = f"List {number}. {fault_cluster.SHORT}"
                labels = {} if reason is None else {"reason": reason}
                before = self.store.metric(family, **labels)
                self.broken.arm("Write", fault)
                answer = self.ask(context)
                self.assertEqual(self.broken.fired[fault.__name__], 1)
                self.assertEqual(answer.ids, self.expected_ids(context))
                self.assertEqual(answer.finished.usage.prefills, 2)
                self.assertEqual(
                    self.store.metric(family, **labels), before + 1
                )
                self.assert_nothing_left()

    def testAWriteThatIsAlwaysDamagedLeavesNothing(self):
        self.proxy(prefill=True)
        self.broken.arm("Write", fault_proxy.flip_byte, times=100)
        self.fails([ABORTED, grpc.StatusCode.UNAVAILABLE], self.ask, 30)
        self.assert_nothing_left()
        stats = self.stats()
        self.assertEqual((stats.segments, stats.used_bytes), (0, 0))

    def testAReadThatStallsEndsInTime(self):
        self.proxy(decode=True)
        self.broken.arm("Read", self.broken.stall)
        error = self.fails(
            [grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE],
            lambda: self.ask(timeout=4),
            6,
        )
        self.assertTrue(self.broken.stalled.is_set(), error)
        self.assert_nothing_left(timeout_s=15)


if __name__ == "__main__":
    winnow_cli.main()
