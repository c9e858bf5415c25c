"""What the roles export: the table of services/README.md, numbers that move by
what a request took, and a form that Prometheus' own tool accepts."""
import math
import re
import subprocess

import grpc
import winnow_cli
import winnow_cluster

KV_BYTES_PER_TOKEN = 3 * 2 * 16 * 2 * 2  # layers, heads, dim, K and V, bf16
ROW = re.compile(
    r"^\| `(winnow_\w+)` \| (counter|gauge|histogram) \|([^|]*)\| (\w+) \|",
    re.MULTILINE,
)
ROLES = ("gateway", "prefill", "store", "decode")


def table():
    """[(name, type, labels, role)] of the README."""
    text = (winnow_cli.ROOT / "services/README.md").read_text()
    return [
        (name, kind, set(re.findall(r"`(\w+)`", labels)), role)
        for name, kind, labels, role in ROW.findall(text)
    ]


class MetricsTest(winnow_cluster.ClusterTest):
    def setUp(self):
        super().setUp()
        self.wire = winnow_cluster.stubs()

    def ask(self, role, **fields):
        request = self.wire.generation.GenerateRequest(
            **{"prompt": "Hi", "max_tokens": 8, "ignore_eos": True, **fields}
        )
        return list(self.generation(role).Generate(request, timeout=30))

    def expect_labels(self, scrape, role):
        """Samples of a role's families have the labels of the table."""
        labels = {name: allowed for name, _, allowed, _ in table()}
        for name, text in re.findall(r"^(\w+)\{(.*)\} ", scrape, re.MULTILINE):
            have = set(re.findall(r'(\w+)="', text)) - {"le"}
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            allowed = labels.get(name, labels.get(family))
            if allowed is not None:
                self.assertEqual(have, allowed, f"{role}: {name}")


class TableTest(MetricsTest):
    def miss(self, roles):
        """Has decode miss a segment, and the store refuse a frame."""
        prefill = self.wire.prefill_rpc.PrefillServiceStub(
            self.channel(roles.prefill.address)
        )
        decode = self.wire.decode_rpc.DecodeServiceStub(
            self.channel(roles.decode.address)
        )
        store = self.wire.store_rpc.CacheStoreServiceStub(
            self.channel(roles.store.address)
        )
        made = prefill.Prefill(
            self.wire.prefill.PrefillRequest(
                ids=range(100, 200), compact_at=100
            ),
            timeout=30,
        )
        keys = [segment.key for segment in made.manifest.segments]
        store.Release(
            self.wire.store.ReleaseRequest(lease_id=made.manifest.lease.id)
        )
        store.Remove(self.wire.store.RemoveRequest(keys=keys))
        request = self.wire.decode.DecodeRequest(
            manifest=made.manifest, first_token=made.first.id, max_tokens=4
        )
        error = self.rpc_error(lambda: list(decode.Decode(request, timeout=30)))
        self.assertEqual(error.code(), grpc.StatusCode.ABORTED)
        frame = self.wire.store.WriteRequest()
        frame.frame.content = b"without a beginning"
        self.rpc_error(lambda: list(store.Write(iter([frame]), timeout=30)))

    def testTheTableIsWhatIsExported(self):
        roles = self.start_split(model=self.chat_model(), gateway=True)
        self.ask(roles.gateway)
        self.miss(roles)
        listed = table()
        self.assertGreater(len(listed), 40)
        names = [name for name, *_ in listed]
        self.assertEqual(len(names), len(set(names)))
        for role in ROLES:
            with self.subTest(role=role):
                expected = {
                    (name, kind)
                    for name, kind, _, owner in listed
                    if owner in (role, "all")
                }
                running = getattr(roles, role)
                self.assertEqual(running.families(), expected)
                self.expect_labels(running.scrape(), role)
        self.assertGreater(
            roles.decode.metric("winnow_decode_misses_total"), 0
        )
        self.assertEqual(
            roles.store.metric("winnow_store_frames_refused_total"), 1
        )

    def testOneProcessExportsAll(self):
        server = self.start("serve", "--model", self.chat_model())
        self.ask(server)
        self.assertEqual(
            server.families(), {(name, kind) for name, kind, *_ in table()}
        )
        self.assertEqual(
            server.metric("winnow_build_info", role="serve"), 1
        )


class CountTest(MetricsTest):
    def moved(self, before, after):
        """{name: by how much}, of those that did."""
        moves = {name: after[name] - before.get(name, 0) for name in after}
        return {name: number for name, number in moves.items() if number}

    def sums(self, server):
        """{name of a sample: sum over its labels}, without buckets."""
        total = {}
        sample = re.compile(r"^(winnow_\w+)(?:\{.*\})? (\S+)$", re.MULTILINE)
        for name, value in sample.findall(server.scrape()):
            if not name.endswith("_bucket"):
                total[name] = total.get(name, 0) + float(value)
        return total

    def settled(self, server):
        """The sums, once the last request has left everything."""
        self.expect_nothing_left(server)
        return self.sums(server)

    def testOneRequestCountsWhatItTook(self):
        server = self.start("serve", "--model", self.chat_model())
        before = self.settled(server)
        events = self.ask(
            server,
            context="A long story. " * 10,
            policy={"kind": 3, "window": 64, "min_length": 0},
        )
        usage = events[-1].finished.usage
        tokens = usage.prompt_tokens
        self.eventually(
            lambda: server.metric("winnow_rpc_requests_total", code="OK") == 1
        )
        moved = self.moved(before, self.settled(server))
        stored = usage.kv_stored_bytes
        full = tokens * KV_BYTES_PER_TOKEN
        self.assertEqual(usage.kv_full_bytes, full)
        self.assertLess(stored, full)
        for name, number in (
            ("winnow_rpc_requests_total", 1),
            ("winnow_rpc_duration_seconds_count", 1),
            ("winnow_gateway_requests_total", 1),
            ("winnow_gateway_time_to_first_token_seconds_count", 1),
            ("winnow_gateway_inter_token_seconds_count", 7),
            ("winnow_gateway_tokenize_seconds_count", 1),
            ("winnow_gateway_prompt_tokens_total", tokens),
            ("winnow_gateway_completion_tokens_total", 8),
            ("winnow_prefill_stage_seconds_count", 6),
            ("winnow_prefill_tokens_total", tokens),
            ("winnow_prefill_kv_full_bytes_total", full),
            ("winnow_prefill_kv_stored_bytes_total", stored),
            ("winnow_prefill_compression_ratio_count", 1),
            ("winnow_decode_steps_total", 7),
            ("winnow_decode_step_tokens_total", 7),
            ("winnow_decode_tokens_total", 7),
            ("winnow_decode_pulled_bytes_total", usage.kv_pulled_bytes),
            ("winnow_store_written_bytes_total", stored),
        ):
            self.assertEqual(moved.pop(name, 0), number, name)
        ratio = moved.pop("winnow_prefill_compression_ratio_sum")
        self.assertTrue(math.isclose(ratio, full / stored, rel_tol=1e-6))
        for name in moved:  # no error, miss, eviction, rebuild or remainder
            self.assertNotRegex(name, "miss|refused|fail|evict|recomp|reused")

    def testTheSameContextIsReusedAndItsWriteNotRepeated(self):
        server = self.start("serve", "--model", self.chat_model())
        ask = {"context": "A long story. " * 10, "policy": {"kind": 1}}
        self.ask(server, **ask)
        before = self.settled(server)
        usage = self.ask(server, **ask)[-1].finished.usage
        moved = self.moved(before, self.settled(server))
        self.assertGreater(usage.reused_tokens, 128)
        self.assertEqual(
            moved["winnow_prefill_reused_tokens_total"], usage.reused_tokens
        )
        self.assertLess(
            moved["winnow_store_written_bytes_total"],
            usage.kv_stored_bytes / 2,
        )

    def testErrorsCountByTheirCode(self):
        server = self.start("serve", "--model", self.chat_model())
        for fields in ({"max_tokens": 0}, {"model": "other"}, {"prompt": ""}):
            self.rpc_error(lambda fields=fields: self.ask(server, **fields))
        for code, number in (("INVALID_ARGUMENT", 2), ("NOT_FOUND", 1)):
            for family in ("rpc", "gateway"):
                name = f"winnow_{family}_requests_total"
                self.eventually(
                    lambda: server.metric(name, code=code) == number
                )
        for name in ("prompt_tokens", "completion_tokens"):
            self.assertEqual(server.metric(f"winnow_gateway_{name}_total"), 0)


class PromtoolTest(MetricsTest):
    def setUp(self):
        super().setUp()
        fetched = subprocess.run(
            [winnow_cli.ROOT / "tests" / "e2e" / "fetch-promtool"],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if fetched.returncode == 3:
            self.skipTest(fetched.stderr.splitlines()[0])
        self.assertEqual(fetched.returncode, 0, fetched.stderr)
        self.promtool = fetched.stdout.strip()

    def check(self, text):
        return subprocess.run(
            [self.promtool, "check", "metrics"],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def testAcceptsWhatEveryRoleExports(self):
        roles = self.start_split(model=self.chat_model(), gateway=True)
        self.ask(roles.gateway)
        for role in ROLES:
            checked = self.check(getattr(roles, role).scrape())
            said = checked.stdout + checked.stderr
            self.assertEqual((checked.returncode, said), (0, ""), role)
        # It does look: a counter without _total and without help is refused.
        wrong = self.check("# TYPE winnow_x counter\nwinnow_x 1\n")
        self.assertNotEqual(wrong.returncode, 0)


if __name__ == "__main__":
    winnow_cli.main()
