"""A store client without a line of Winnow: generated stubs and the formats.

Whoever writes another client has cache_store.proto, the grammar of a segment
and nothing else; neither has this.
"""
import os
import pathlib
import sys
import unittest

import grpc
import winnow_cluster
import xxhash

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
sys.path.insert(0, os.fspath(GOLDEN))
import make_segment  # noqa: E402

FRAME_BYTES = 1 << 20
SHAPE = dict(dtype=1, layout_id=1, head_dim=64, num_layers=24, num_heads=96,
             num_blocks=1, num_sinks=0, first_token=0, end_token=64)


def make(number):
    """A key and a sealed segment of 1.5 MiB, two frames."""
    key = bytes([number]) * 32
    size = SHAPE["num_heads"] * 2 * 64 * 64 * 2
    payload = bytes((i * 7 + number) % 251 for i in range(size))
    return key, make_segment.seal("R", key, bytes(32), SHAPE, payload)


class StoreClientTest(winnow_cluster.ClusterTest):
    def setUp(self):
        super().setUp()
        self.wire = winnow_cluster.stubs()
        self.server = self.start("store", "--store-size", "16MiB")
        self.stub = self.wire.store_rpc.CacheStoreServiceStub(
            self.channel(self.server.address))

    def begin(self, segments):
        request = self.wire.store.WriteRequest()
        for key, size in segments:
            request.begin.segments.add(
                key=key, kind=self.wire.manifest.SEGMENT_KIND_RETRIEVAL,
                rank=3, size_bytes=size)
        request.begin.lease_ttl.FromSeconds(30)
        return request

    def frame(self, index, offset, content, checksum=None):
        request = self.wire.store.WriteRequest()
        request.frame.segment_index = index
        request.frame.offset = offset
        request.frame.checksum = (xxhash.xxh3_64(content).intdigest()
                                  if checksum is None else checksum)
        request.frame.content = content
        return request

    def frames(self, index, segment):
        return [self.frame(index, at, segment[at:at + FRAME_BYTES])
                for at in range(0, len(segment), FRAME_BYTES)]

    def commit(self):
        request = self.wire.store.WriteRequest()
        request.commit.SetInParent()
        return request

    def refused(self, messages):
        """The code with which a write ends; nothing of it is left then."""
        with self.assertRaises(grpc.RpcError) as raised:
            list(self.stub.Write(iter(messages), timeout=30))
        # gRPC itself refuses some messages: the store sees that a moment later.
        def nothing_left():
            stats = self.stub.GetStats(self.wire.store.GetStatsRequest())
            return not (stats.reserved_bytes or stats.writes_in_flight
                        or stats.used_bytes)

        self.eventually(nothing_left, what="the write left something behind")
        return raised.exception.code()

    def testWhatIsWrittenIsReadBack(self):
        (first, one), (second, two) = make(1), make(2)
        replies = list(self.stub.Write(iter([
            self.begin([(first, len(one)), (second, len(two))]),
            *self.frames(1, two), *self.frames(0, one), self.commit(),
        ]), timeout=30))
        self.assertEqual(list(replies[0].reserved.present), [False, False])
        written = replies[1].committed.lease
        acquired = self.stub.Acquire(self.wire.store.AcquireRequest(
            keys=[first, second],
            requested_ttl=replies[1].committed.lease.ttl))
        self.assertNotIn(acquired.lease.id, (0, written.id))
        read = {0: b"", 1: b""}
        sizes = []
        for reply in self.stub.Read(self.wire.store.ReadRequest(
                lease_id=acquired.lease.id, keys=[first, second])):
            if reply.WhichOneof("message") == "segment":
                sizes.append(reply.segment.size_bytes)
                continue
            frame = reply.frame
            self.assertEqual(frame.offset, len(read[frame.segment_index]))
            self.assertEqual(frame.checksum,
                             xxhash.xxh3_64(frame.content).intdigest())
            read[frame.segment_index] += frame.content
        self.assertEqual(sizes, [len(one), len(two)])
        self.assertEqual(read[0], one)
        self.assertEqual(read[1], two)
        for lease in (written.id, acquired.lease.id):
            self.stub.Release(
                self.wire.store.ReleaseRequest(lease_id=lease))
        stats = self.stub.GetStats(self.wire.store.GetStatsRequest())
        self.assertEqual((stats.leases, stats.segments), (0, 2))
        self.assertEqual(stats.written_bytes, len(one) + len(two))

    def testBytesThatFailAChecksumAreDataLoss(self):
        key, segment = make(1)
        begin = self.begin([(key, len(segment))])
        wrong = self.frame(0, 0, segment[:1000], checksum=12345)
        self.assertEqual(self.refused([begin, wrong]),
                         grpc.StatusCode.DATA_LOSS)
        damaged = segment[:-1] + bytes([segment[-1] ^ 1])
        self.assertEqual(
            self.refused([begin, *self.frames(0, damaged), self.commit()]),
            grpc.StatusCode.DATA_LOSS)
        stats = self.stub.GetStats(self.wire.store.GetStatsRequest())
        self.assertEqual(stats.integrity_failures, 2)

    def testFramesOutOfOrderAreRefused(self):
        key, segment = make(1)
        begin = self.begin([(key, len(segment))])
        head, tail = self.frames(0, segment)
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        self.assertEqual(self.refused([begin, tail, head]), invalid)
        self.assertEqual(self.refused([begin, head, head]), invalid)
        self.assertEqual(self.refused([head]), invalid)
        self.assertEqual(self.refused([begin, head, self.commit()]),
                         grpc.StatusCode.FAILED_PRECONDITION)

    def testHugeSizesAreRefused(self):
        key, _ = make(1)
        self.assertEqual(self.refused([self.begin([(key, 1 << 60)])]),
                         grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(self.refused([self.begin([(key, 1 << 30)])]),
                         grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(
            self.refused([self.begin([(key, 1 << 21)]),
                          self.frame(0, 0, bytes(FRAME_BYTES + 1))]),
            grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(
            self.refused([self.begin([(key, 1 << 21)]),
                          self.frame(0, 0, bytes(8 << 20))]),
            grpc.StatusCode.RESOURCE_EXHAUSTED)

    def testAClientThatGoesAwayLeavesNothing(self):
        key, segment = make(1)
        stream = self.stub.Write(iter([self.begin([(key, len(segment))])]),
                                 timeout=30)
        self.assertTrue(next(stream).HasField("reserved"))
        stream.cancel()
        self.eventually(lambda: self.stub.GetStats(
            self.wire.store.GetStatsRequest()).reserved_bytes == 0)


if __name__ == "__main__":
    unittest.main()
