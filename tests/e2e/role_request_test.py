"""PrefillRequest and DecodeRequest, which only roles send each other: every
field out of its range, and every field of a manifest changed."""
import grpc
import winnow_cli
import winnow_cluster

INVALID = grpc.StatusCode.INVALID_ARGUMENT
OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE
# What a manifest that was changed may get.
REFUSALS = {
    INVALID,
    OUT_OF_RANGE,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
IDS = [*range(10, 210)]
STREAMING = {"kind": 3, "window": 64, "min_length": 0}


def scalars(message, path=""):
    """Yields (path, owner, field, index) of every scalar that is set, and of
    the first and last element of what is repeated."""
    for field, value in message.ListFields():
        name = f"{path}.{field.name}".lstrip(".")
        repeated = field.label == field.LABEL_REPEATED
        nested = field.cpp_type == field.CPPTYPE_MESSAGE
        if not repeated and nested:
            yield from scalars(value, name)
        elif not repeated:
            yield name, message, field, None
        else:
            for index in sorted({0, len(value) - 1}):
                if nested:
                    yield from scalars(value[index], f"{name}[{index}]")
                else:
                    yield f"{name}[{index}]", message, field, index


def others(field, value):
    """Values that the field could have instead."""
    if field.type == field.TYPE_BYTES:
        flipped = bytes([value[0] ^ 1]) + value[1:]
        return [b"", flipped, value[:-1], value + b"\0"]
    if field.type == field.TYPE_STRING:
        return ["", value + "x"]
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return [-1.0, float("nan"), float("inf"), 1e30]
    if field.type == field.TYPE_BOOL:
        return [not value]
    if field.cpp_type == field.CPPTYPE_INT64:
        return [0, -1, value + 1, value - 1, 2**63 - 1, -(2**63)]
    if field.cpp_type == field.CPPTYPE_UINT64:
        return [0, value + 1, 2**64 - 1]
    return [0, -1, value + 1, value - 1, 2**31 - 1, -(2**31)]


class RoleRequestTest(winnow_cluster.ClusterTest):
    def setUp(self):
        super().setUp()
        self.wire = winnow_cluster.stubs()
        self.server = self.start("serve", "--model", self.tiny_model())
        channel = self.channel(self.server.address)
        self.prefill_stub = self.wire.prefill_rpc.PrefillServiceStub(channel)
        self.decode_stub = self.wire.decode_rpc.DecodeServiceStub(channel)

    def prefill(self, **fields):
        request = self.wire.prefill.PrefillRequest(
            **{"ids": IDS, "compact_at": len(IDS), **fields}
        )
        return self.prefill_stub.Prefill(request, timeout=30)

    def decode(self, manifest, **fields):
        request = self.wire.decode.DecodeRequest(
            manifest=manifest,
            **{"first_token": 7, "max_tokens": 3, "ignore_eos": True, **fields},
        )
        *tokens, _ = self.decode_stub.Decode(request, timeout=30)
        return [
            (event.token.id, event.token.log_probability) for event in tokens
        ]

    def expect_refusals(self, call, code, cases):
        for says, fields in cases:
            with self.subTest(says=says, fields=str(fields)[:200]):
                error = self.rpc_error(lambda fields=fields: call(**fields))
                self.assertEqual(error.code(), code, error.details())
                self.assertIn(says, error.details())


class PrefillRequestTest(RoleRequestTest):
    def testFields(self):
        self.expect_refusals(
            *(self.prefill, INVALID),
            (
                ("at least one token", {"ids": [], "compact_at": 0}),
                ("-1", {"ids": [1, -1], "compact_at": 1}),
                ("512", {"ids": [512], "compact_at": 1}),
                ("compact_at is 0", {"compact_at": 0}),
                ("compact_at is -1", {"compact_at": -1}),
                ("compact_at is 201", {"compact_at": 201}),
                ("policy", {"policy": {}}),
                ("window", {"policy": {"kind": 3, "window": 63}}),
                ("temperature", {"sampling": {"temperature": -1}}),
                ("-1", {"forced_first": -1}),
                ("512", {"forced_first": 512}),
            ),
        )
        self.expect_refusals(
            *(self.prefill, OUT_OF_RANGE),
            [("512", {"ids": [1] * 513, "compact_at": 513})],
        )
        self.expect_nothing_left(self.server)


class DecodeRequestTest(RoleRequestTest):
    def testFields(self):
        manifest = self.prefill().manifest

        def decode(**fields):
            return self.decode(manifest, **fields)

        self.expect_refusals(
            *(decode, INVALID),
            (
                ("512", {"first_token": 512}),
                ("first_token", {"first_token": -1}),
                ("max_tokens", {"max_tokens": -1}),
                ("temperature", {"sampling": {"temperature": -1}}),
                ("forced", {"forced": [1, 2, 512]}),
                ("2 forced tokens", {"forced": [1, 2]}),
            ),
        )
        for count in (400, 2**63 - 1):
            self.expect_refusals(
                decode, OUT_OF_RANGE, [("512", {"max_tokens": count})]
            )
        self.expect_refusals(
            lambda: self.decode(self.wire.manifest.Manifest()),
            *(INVALID, [("manifest", {})]),
        )
        self.assertEqual(len(decode()), 3)
        self.assertEqual(decode(max_tokens=0), [])
        self.expect_nothing_left(self.server)

    def expect_each_change_refused_or_harmless(self, policy):
        made = self.prefill(policy=policy).manifest
        expected = self.decode(made)
        refused = 0
        for path, *_ in scalars(made):
            changed = self.wire.manifest.Manifest()
            changed.CopyFrom(made)
            owner, field, index = next(
                found[1:] for found in scalars(changed) if found[0] == path
            )
            value = getattr(owner, field.name)
            value = value if index is None else value[index]
            for other in others(field, value):
                with self.subTest(path=path, value=other):
                    if index is None:
                        setattr(owner, field.name, other)
                    else:
                        getattr(owner, field.name)[index] = other
                    refused += self.is_refused(changed, expected)
        self.assertGreater(refused, 100)
        self.assertEqual(self.decode(made), expected)
        self.expect_nothing_left(self.server)

    def is_refused(self, manifest, expected):
        try:
            self.assertEqual(self.decode(manifest), expected)
            return False
        except grpc.RpcError as error:
            self.assertIn(error.code(), REFUSALS, error.details())
            return True

    def testAChangedManifestIsRefusedOrGivesTheSameAnswer(self):
        self.expect_each_change_refused_or_harmless({"kind": 1})

    def testTheSameWithAnchors(self):
        self.expect_each_change_refused_or_harmless(STREAMING)


if __name__ == "__main__":
    winnow_cli.main()
