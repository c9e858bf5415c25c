"""Four roles on sockets of the test's folder, which a test kills, pauses and
restarts, and the check that nothing stays behind."""
import re
import subprocess
import sys
import time

import grpc
import winnow_cluster

ROLES = ("store", "prefill", "decode", "gateway")
PROMPT = "Which numbers?"
HINT = "grpc-retry-pushback-ms"
SETTLE_TIMEOUT_S = 20
# Gauges that are 0 when nobody asks for anything.
IDLE_GAUGES = {
    "store": [],  # GetStats says it
    "prefill": ["winnow_prefill_running", "winnow_prefill_queue_depth"],
    "decode": [
        "winnow_decode_running",
        "winnow_decode_queue_depth",
        "winnow_decode_reserved_bytes",
    ],
    "gateway": ["winnow_gateway_active_streams"],
}
SAMPLE = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def items(count):
    """A context of about 10 tokens an item."""
    return " ".join(f"Item {i} is number {i * 37 % 100}." for i in range(count))


SHORT = items(110)  # about 1,150 tokens, so that razor drops some
LONG = items(600)  # about 6,300 tokens: seconds of prefill


class Answer:
    """What a gateway answered."""

    def __init__(self, events):
        self.ids, self.text, self.finished = [], "", None
        for event in events:
            if event.HasField("token"):
                self.ids.append(event.token.id)
                self.text += event.token.text
            elif event.HasField("finished"):
                self.finished = event.finished
                self.text += event.finished.text


class FaultTest(winnow_cluster.ClusterTest):
    """A test that breaks roles.  A role is an attribute: self.store and so on.
    """

    def setUp(self):
        super().setUp()
        self.wire = winnow_cluster.stubs()
        self._arguments = {}
        for role in ROLES:
            setattr(self, role, None)

    def launch(self, role, *arguments):
        """Starts a role on its socket, which stays the same over restarts."""
        self._arguments[role] = arguments
        setattr(
            self, role, self.start(role, *arguments, listen=self.socket(role))
        )

    def launch_all(
        self,
        store=(),
        prefill=(),
        decode=(),
        gateway=(),
        prefill_store=None,
        decode_store=None,
        lease_ttl="4s",
    ):
        """Starts all four; `..._store` is where a role finds the store."""
        here = self.socket("store")
        ttl = ("--lease-ttl", lease_ttl)
        self.launch("store", *store)
        self.launch("prefill", "--store", prefill_store or here, *ttl, *prefill)
        self.launch("decode", "--store", decode_store or here, *ttl, *decode)
        self.launch(
            *("gateway", "--store", here),
            *("--prefill", self.prefill.address),
            *("--decode", self.decode.address),
            *gateway,
        )

    def restart(self, role):
        getattr(self, role).kill()
        self.launch(role, *self._arguments[role])

    # Asking.

    def gateway_stub(self, address=None):
        return self.wire.generation_rpc.GenerationServiceStub(
            self.channel(address or self.gateway.address)
        )

    def question(self, context=SHORT, max_tokens=32):
        return self.wire.generation.GenerateRequest(
            context=context,
            prompt=PROMPT,
            max_tokens=max_tokens,
            ignore_eos=True,
        )

    def ask(self, context=SHORT, max_tokens=32, timeout=60):
        """Asks the gateway; an error is raised as grpc.RpcError."""
        return Answer(
            self.gateway_stub().Generate(
                self.question(context, max_tokens), timeout=timeout
            )
        )

    def start_asking(self, context=SHORT, max_tokens=32, timeout=60):
        """The call, whose events the caller reads."""
        return self.gateway_stub().Generate(
            self.question(context, max_tokens), timeout=timeout
        )

    def expected_ids(self, context=SHORT, max_tokens=32):
        """The same answer out of one process, without any service."""
        path = self.file("context.txt", context)
        outcome = self.run_json(
            *("generate", "--context-file", path, "--prompt", PROMPT),
            *("--max-tokens", str(max_tokens), "--ignore-eos"),
        )
        return outcome["token_ids"]

    def start_prefill(self, num_tokens=1600, salt=37, timeout=60):
        """A future of a Prefill of ids that depend on `salt`."""
        request = self.wire.prefill.PrefillRequest(
            ids=[100 + i * salt % 40000 for i in range(num_tokens)],
            compact_at=num_tokens - 16,
        )
        request.policy.kind = self.wire.policy.POLICY_KIND_RAZOR
        stub = self.wire.prefill_rpc.PrefillServiceStub(
            self.channel(self.prefill.address)
        )
        return stub.Prefill.future(request, timeout=timeout)

    def start_decode(self, prefilled, max_tokens=32, timeout=60, options=()):
        channel = grpc.insecure_channel(self.decode.address, options=options)
        self.addCleanup(channel.close)
        request = self.wire.decode.DecodeRequest(
            manifest=prefilled.manifest,
            first_token=prefilled.first.id,
            max_tokens=max_tokens,
            ignore_eos=True,
        )
        stub = self.wire.decode_rpc.DecodeServiceStub(channel)
        return stub.Decode(request, timeout=timeout)

    def vanishing_client(self, context, max_tokens=2000):
        """A process that asks the gateway and prints every token; kill it."""
        path = self.file("vanishing.txt", context)
        client = subprocess.Popen(
            [
                *(sys.executable, "-B", __file__, self.gateway.address),
                *(path, str(max_tokens)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

        def end():
            client.kill()
            client.wait()
            client.stdout.close()

        self.addCleanup(end)
        return client

    # Judging.

    def fails(self, codes, call, within_s):
        """The error of `call`, which must come in time with one of `codes`."""
        began = time.monotonic()
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        self.assertLess(time.monotonic() - began, within_s)
        self.assertIn(raised.exception.code(), codes, raised.exception)
        return raised.exception

    def assert_hint(self, error):
        """The error says when to ask again."""
        hints = [v for k, v in error.trailing_metadata() if k == HINT]
        self.assertEqual(len(hints), 1, error)
        self.assertGreater(int(hints[0]), 0)

    def store_stub(self):
        """Of a channel of its own: the store may be another one by now."""
        return self.wire.store_rpc.CacheStoreServiceStub(
            self.channel(self.store.address)
        )

    def stats(self):
        return self.store_stub().GetStats(
            self.wire.store.GetStatsRequest(), timeout=10
        )

    def empty_the_store(self):
        stub = self.store_stub()
        listed = stub.List(self.wire.store.ListRequest(), timeout=10)
        stub.Remove(
            self.wire.store.RemoveRequest(
                keys=[segment.key for segment in listed.segments]
            ),
            timeout=10,
        )

    def left_behind(self):
        """Everything that is not back to nothing, by name."""
        stats = self.stats()
        left = {
            f"store {name}": getattr(stats, name)
            for name in ("leases", "reserved_bytes", "writes_in_flight")
        }
        for role in ROLES:
            running = getattr(self, role)
            if running is None or running.process.poll() is not None:
                continue
            samples = SAMPLE.findall(running.scrape())
            for name in IDLE_GAUGES[role]:
                values = [float(v) for family, v in samples if family == name]
                self.assertTrue(values, f"{role} does not export {name}")
                left[f"{role} {name}"] = sum(values)
            name = "winnow_rpc_in_flight"
            left[f"{role} {name}"] = sum(
                float(v) for family, v in samples if family == name
            )
        return {name: value for name, value in left.items() if value}

    def assert_nothing_left(self, timeout_s=SETTLE_TIMEOUT_S):
        end = time.monotonic() + timeout_s
        left = self.left_behind()
        while left:
            self.assertLess(time.monotonic(), end, f"left behind: {left}")
            time.sleep(0.05)
            left = self.left_behind()


def _ask_and_print(address, path, max_tokens):
    wire = winnow_cluster.stubs()
    with open(path, encoding="utf-8") as file:
        context = file.read()
    stub = wire.generation_rpc.GenerationServiceStub(
        grpc.insecure_channel(address)
    )
    print("asks", flush=True)
    for event in stub.Generate(
        wire.generation.GenerateRequest(
            context=context,
            prompt=PROMPT,
            max_tokens=int(max_tokens),
            ignore_eos=True,
        )
    ):
        print(event.WhichOneof("event"), flush=True)


if __name__ == "__main__":
    _ask_and_print(*sys.argv[1:])
