"""What every server does: health, reflection, request ids, addresses, and
deadlines."""
import re
import time

import grpc
import standard_services
import winnow_cli
import winnow_cluster

USAGE = 2  # services/cli/exit_code.h
FAILED_PRECONDITION = 5
SERVICES = {
    "gateway": "winnow.v1.GenerationService",
    "prefill": "winnow.v1.PrefillService",
    "store": "winnow.v1.CacheStoreService",
    "decode": "winnow.v1.DecodeService",
}
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED


class ServeTest(winnow_cluster.ClusterTest):
    def setUp(self):
        super().setUp()
        self.wire = winnow_cluster.stubs()

    def request(self, **fields):
        return self.wire.generation.GenerateRequest(
            **{"prompt": "Hi", "max_tokens": 4, **fields}
        )


class StandardServiceTest(ServeTest):
    def expect_services(self, role, names):
        channel = self.channel(role.address)
        for name in ("", *names):
            self.assertEqual(
                standard_services.health(channel, name),
                standard_services.SERVING,
                name,
            )
        error = self.rpc_error(
            lambda: standard_services.health(channel, "winnow.v1.Nothing")
        )
        self.assertEqual(error.code(), grpc.StatusCode.NOT_FOUND)
        listed = standard_services.services(channel)
        own = {name for name in listed if name.startswith("winnow.")}
        self.assertEqual(own, set(names))
        self.assertIn("grpc.health.v1.Health", listed)

    def testOneProcessHasAllServices(self):
        server = self.start("serve", "--model", self.chat_model())
        self.expect_services(server, SERVICES.values())
        found = standard_services.file_of_symbol(
            self.channel(server.address), "winnow.v1.GenerateRequest"
        )
        self.assertEqual(
            found, self.wire.generation.DESCRIPTOR.serialized_pb
        )

    def testEachRoleHasItsOwn(self):
        roles = self.start_split(model=self.chat_model(), gateway=True)
        for role, service in SERVICES.items():
            self.expect_services(getattr(roles, role), [service])


class RequestIdTest(ServeTest):
    def ask(self, server, *metadata):
        """The request's id: of the reply's metadata, and of `accepted`."""
        call = self.generation(server).Generate(
            self.request(), metadata=metadata, timeout=20
        )
        replied = dict(call.initial_metadata())["x-request-id"]
        events = list(call)
        self.assertEqual(events[0].accepted.request_id, replied)
        self.eventually(
            lambda: re.search(
                f"request done .*request_id={re.escape(replied)} code=OK",
                server.text(),
            )
        )
        return replied

    def testAValidIdIsKeptAnyOtherReplaced(self):
        server = self.start("serve", "--model", self.chat_model())
        for name in ("a", "Job-7_of.9", "x" * 64):
            self.assertEqual(self.ask(server, ("x-request-id", name)), name)
        made = {self.ask(server), self.ask(server)}
        for name in ("", "x" * 65, "two words", "a/b", 'say "hi"'):
            made.add(self.ask(server, ("x-request-id", name)))
        self.assertEqual(len(made), 7)
        for name in made:
            self.assertRegex(name, r"\A[0-9a-f]{16}\Z")
        self.assertNotIn("two words", server.text())

    def testARefusalHasItToo(self):
        server = self.start("serve", "--model", self.chat_model())
        call = self.generation(server).Generate(
            self.request(max_tokens=0),
            metadata=[("x-request-id", "wrong-1")],
            timeout=20,
        )
        error = self.rpc_error(lambda: list(call))
        self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertIn(
            ("x-request-id", "wrong-1"), [*call.initial_metadata()]
        )
        self.eventually(
            lambda: "request_id=wrong-1 code=INVALID_ARGUMENT" in server.text()
        )


class AddressTest(ServeTest):
    def fails(self, code, says, *arguments):
        outcome = self.run_winnow(
            "store", "--store-size", "1MiB", *arguments, timeout_s=60
        )
        self.assertEqual(outcome.code, code, outcome.err)
        self.assertIn(says, outcome.err)

    def testOtherMachinesNeedAFlag(self):
        self.fails(USAGE, "--insecure-listen", "--listen", "0.0.0.0:0")
        self.fails(USAGE, "--insecure-listen", "--listen", "[::]:0")
        self.fails(
            *(USAGE, "--insecure-listen", "--listen", "127.0.0.1:0"),
            *("--metrics-listen", "0.0.0.0:0"),
        )
        self.fails(USAGE, "names are not looked up", "--listen", "example:1")

    def testTheFlagAllowsThem(self):
        role = self.start("store", "--insecure-listen", listen="0.0.0.0:0")
        self.assertRegex(role.address, r"\A0\.0\.0\.0:[1-9]\d*\Z")
        port = role.address.rpartition(":")[2]
        channel = self.channel(f"127.0.0.1:{port}")
        self.assertEqual(
            standard_services.health(channel), standard_services.SERVING
        )

    def testATakenAddressIsRefused(self):
        socket = self.socket("store")
        first = self.start("store")
        second = self.start("store", listen=socket)
        off = ("--metrics-listen", "")
        for address in (first.address, socket, f"unix:{self.file('f', 'x')}"):
            self.fails(
                *(FAILED_PRECONDITION, f"cannot listen on {address}"),
                *("--listen", address, *off),
            )
        self.fails(
            *(FAILED_PRECONDITION, "cannot listen on"),
            *("--listen", "127.0.0.1:0", "--metrics-listen", first.metrics),
        )
        for role in (first, second):
            self.assertEqual(
                standard_services.health(self.channel(role.address)),
                standard_services.SERVING,
            )

    def testASocketIsItsOwnersAloneAndOutlivesNobody(self):
        address = self.socket("store")
        path = self.folder / "store.sock"
        self.start("store", listen=address).kill()
        self.assertTrue(path.exists())  # killed: nobody took it away
        role = self.start("store", listen=address)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(role.stop(), 0)
        self.assertFalse(path.exists())


class DeadlineTest(ServeTest):
    """The caller's, the default one and the longest one."""

    def endless(self):
        return self.request(
            prompt="Count.", max_tokens=8000, ignore_eos=True
        )

    def expect_late(self, server, request, timeout_s, at_least, at_most):
        began = time.monotonic()
        stream = self.generation(server).Generate(request, timeout=timeout_s)
        error = self.rpc_error(lambda: list(stream))
        self.assertEqual(error.code(), DEADLINE_EXCEEDED)
        took = time.monotonic() - began
        self.assertGreaterEqual(took, at_least)
        self.assertLess(took, at_most)
        self.expect_nothing_left(server)

    def testTheCallersEndsDecode(self):
        server = self.start("serve")
        self.expect_late(server, self.endless(), 1.5, 1.4, 4)
        self.eventually(
            lambda: server.metric(
                "winnow_rpc_requests_total", code="DEADLINE_EXCEEDED"
            )
            + server.metric("winnow_rpc_requests_total", code="CANCELLED")
            == 1
        )

    def testTheCallersEndsPrefill(self):
        server = self.start("serve")
        request = self.request(context="All of this is a long story. " * 800)
        self.expect_late(server, request, 0.5, 0.4, 4)
        self.assertEqual(server.metric("winnow_decode_steps_total"), 0)

    def testTheServersHoldWhereTheCallerHasNoneOrMore(self):
        server = self.start(
            "serve", "--default-deadline", "700ms", "--max-deadline", "1200ms"
        )
        self.expect_late(server, self.endless(), None, 0.6, 4)
        self.expect_late(server, self.endless(), 60, 1.1, 5)
        self.assertEqual(
            server.metric(
                "winnow_rpc_requests_total", code="DEADLINE_EXCEEDED"
            ),
            2,
        )
        self.assertEqual(
            server.metric(
                "winnow_gateway_requests_total", code="DEADLINE_EXCEEDED"
            ),
            2,
        )


if __name__ == "__main__":
    winnow_cli.main()
