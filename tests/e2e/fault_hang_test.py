"""A store that hangs, and callers that do not wait for it: what their calls
held is free again at once, and not at the deadline of the store."""
import fault_cluster
import fault_proxy
import grpc
import winnow_cli

SOON_S = 3  # a second to say goodbye to the store, and a slow machine
PATIENT = ("--store-deadline", "60s")


class HungStoreTest(fault_cluster.FaultTest):
    def proxy(self, role):
        """Starts everything, with a proxy between `role` and the store."""
        listen = self.socket("proxy")
        self.broken = fault_proxy.FaultProxy(
            listen, self.socket("store"), self.wire
        )
        self.addCleanup(self.broken.close)
        self.launch_all(
            prefill=PATIENT,
            decode=PATIENT,
            **{f"{role}_store": listen},
        )

    def hang(self, messages, chance, strike):
        """A fault: in mid-stream the store stops, and nothing more passes."""

        def strike_and_stop():
            self.store.pause()
            strike()

        yield from self.broken.stall(messages, chance, strike_and_stop)

    def wait_until_hung(self):
        self.assertTrue(self.broken.stalled.wait(20))

    def expect_soon(self, role, *names):
        for name in names:
            self.eventually(
                lambda name=name: role.metric(name) == 0, timeout_s=SOON_S
            )

    def expect_all_is_well(self):
        self.store.resume()
        self.broken.resume()
        self.assert_nothing_left()
        self.assertEqual(self.ask().ids, self.expected_ids())
        self.assert_nothing_left()

    def testDecodeCancelledInMidPull(self):
        self.proxy("decode")
        prefilled = self.start_prefill().result()
        self.broken.arm("Read", self.hang)
        tokens = self.start_decode(prefilled)
        self.wait_until_hung()
        self.assertEqual(self.decode.metric("winnow_decode_running"), 1)
        reserved = self.decode.metric("winnow_decode_reserved_bytes")
        self.assertGreater(reserved, 0)
        tokens.cancel()
        self.expect_soon(
            self.decode,
            "winnow_decode_running",
            "winnow_decode_reserved_bytes",
            "winnow_rpc_in_flight",
        )
        self.assertEqual(self.decode.metric("winnow_decode_misses_total"), 0)
        self.expect_all_is_well()

    def testDecodeWhoseDeadlinePassesInMidPull(self):
        self.proxy("decode")
        prefilled = self.start_prefill().result()
        self.broken.arm("Read", self.hang)
        tokens = self.start_decode(prefilled, timeout=2)
        self.wait_until_hung()
        self.fails([grpc.StatusCode.DEADLINE_EXCEEDED], lambda: list(tokens), 4)
        self.expect_soon(
            self.decode,
            "winnow_decode_running",
            "winnow_decode_reserved_bytes",
            "winnow_rpc_in_flight",
        )
        self.expect_all_is_well()

    def testPrefillCancelledInMidPull(self):
        self.proxy("prefill")
        self.start_prefill().result()
        self.broken.arm("Read", self.hang)
        again = self.start_prefill()
        self.wait_until_hung()
        self.assertEqual(self.prefill.metric("winnow_prefill_running"), 1)
        again.cancel()
        self.expect_soon(
            self.prefill, "winnow_prefill_running", "winnow_rpc_in_flight"
        )
        self.assertEqual(self.prefill.metric("winnow_prefill_misses_total"), 0)
        self.expect_all_is_well()

    def testPrefillCancelledWhileItReserves(self):
        self.launch_all(prefill=PATIENT)
        self.start_prefill(num_tokens=64).result()  # it is connected
        self.store.pause()
        waiting = self.start_prefill()
        self.eventually(
            lambda: self.prefill.metric("winnow_prefill_running") == 1
        )
        waiting.cancel()
        self.expect_soon(
            self.prefill, "winnow_prefill_running", "winnow_rpc_in_flight"
        )
        self.store.resume()
        self.assert_nothing_left()

    def testDecodeCancelledWhileItTakesItsLease(self):
        self.launch_all(decode=PATIENT)
        prefilled = self.start_prefill().result()
        list(self.start_decode(prefilled))  # it is connected
        prefilled = self.start_prefill().result()
        self.store.pause()
        tokens = self.start_decode(prefilled)
        self.eventually(
            lambda: self.decode.metric("winnow_rpc_in_flight") == 1
        )
        tokens.cancel()
        self.expect_soon(self.decode, "winnow_rpc_in_flight")
        self.store.resume()
        self.assert_nothing_left()

    def testGatewayCancelledInMidPull(self):
        self.proxy("decode")
        self.broken.arm("Read", self.hang)
        asking = self.start_asking()
        self.wait_until_hung()
        asking.cancel()
        self.expect_soon(self.gateway, "winnow_gateway_active_streams")
        self.expect_soon(self.decode, "winnow_decode_running")
        self.expect_all_is_well()


if __name__ == "__main__":
    winnow_cli.main()
