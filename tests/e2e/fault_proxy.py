"""A proxy between a role and the store that breaks what passes, by a seed.

It knows the frames of CacheStoreService: those that a Read returns and those
that a Write carries.  Everything else passes as it came.
"""
import collections
import random
import threading
from concurrent import futures

import grpc
import xxhash

SERVICE = "/winnow.v1.CacheStoreService/"
MESSAGE_LIMIT = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", 16 << 20),
]
STALL_LIMIT_S = 120  # a test is over by then


def _seal(frame):
    frame.checksum = xxhash.xxh3_64(frame.content).intdigest()


# Each fault takes the messages of one call, a random.Random and a function
# that says that it has struck; it gives the messages that go on.


def _edit(change):
    """A fault that changes one frame."""

    def fault(messages, chance, strike):
        left = chance.randrange(8)
        for message in messages:
            if message.HasField("frame"):
                if left == 0:
                    change(message.frame, chance)
                    strike()
                left -= 1
            yield message

    fault.__name__ = change.__name__
    return fault


@_edit
def flip_byte(frame, chance):
    content = bytearray(frame.content)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    frame.content = bytes(content)


@_edit
def flip_byte_and_seal(frame, chance):
    """Damaged before its frame was made: the segment's checksum must tell."""
    content = bytearray(frame.content)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    frame.content = bytes(content)
    _seal(frame)


@_edit
def truncate(frame, chance):
    frame.content = frame.content[: chance.randrange(1, len(frame.content))]


@_edit
def truncate_and_seal(frame, chance):
    frame.content = frame.content[: chance.randrange(1, len(frame.content))]
    _seal(frame)


@_edit
def too_many_bytes(frame, chance):
    frame.content += chance.randbytes(64)
    _seal(frame)


@_edit
def wrong_segment(frame, chance):
    frame.segment_index += 1 + chance.randrange(1 << 31)


@_edit
def wrong_offset(frame, chance):
    frame.offset += 1 + chance.randrange(1 << 62)


@_edit
def huge_frame(frame, chance):
    frame.content = chance.randbytes(9 << 20)
    _seal(frame)


def reorder(messages, chance, strike):
    """A frame comes after the message that followed it."""
    left = chance.randrange(8)
    held = None
    for message in messages:
        if held is not None:
            strike()
            yield message
            yield held
            held = None
        elif message.HasField("frame") and left == 0:
            held, left = message, -1
        else:
            left -= message.HasField("frame")
            yield message


def repeat(messages, chance, strike):
    left = chance.randrange(8)
    for message in messages:
        yield message
        if message.HasField("frame"):
            if left == 0:
                strike()
                yield message
            left -= 1


def swap_contents(messages, chance, strike):
    """Two segments of one size get each other's bytes, and good checksums."""
    del chance  # the first two of equal size
    held = []
    struck = False
    for message in messages:
        if struck or not message.HasField("frame") and not held:
            yield message
            continue
        other = _equal_in_size(held, message)
        held.append(message)
        if other is not None:
            one, two = other.frame, message.frame
            one.content, two.content = two.content, one.content
            _seal(one)
            _seal(two)
            strike()
            struck = True
            yield from held
            held = []
    yield from held


def _equal_in_size(held, message):
    """A held frame that starts another segment with as many bytes."""
    if not message.HasField("frame") or message.frame.offset != 0:
        return None
    for other in held:
        if (
            other.HasField("frame")
            and other.frame.offset == 0
            and len(other.frame.content) == len(message.frame.content)
        ):
            return other
    return None


def cut(messages, chance, strike):
    """The stream ends in good order, but early."""
    left = 2 + chance.randrange(8)
    for message in messages:
        if left == 0:
            strike()
            return
        left -= 1
        yield message


class Broken(Exception):
    """Ends a call with UNAVAILABLE."""


def break_off(messages, chance, strike):
    left = 2 + chance.randrange(8)
    for message in messages:
        if left == 0:
            strike()
            raise Broken()
        left -= 1
        yield message


def huge_segment(messages, chance, strike):
    """A Read announces a segment of 2^62 bytes and more."""
    announced = False
    for message in messages:
        if not announced and message.HasField("segment"):
            message.segment.size_bytes = (1 << 62) + chance.randrange(1 << 20)
            announced = True
            strike()
        yield message


class FaultProxy:
    """Listens at `listen` and asks `target`.  Close it."""

    def __init__(self, listen, target, wire, seed=20240607):
        self.fired = collections.Counter()  # by name of the fault
        self.calls = collections.Counter()  # by method
        self.seed = seed
        self.stalled = threading.Event()
        self._resume = threading.Event()
        self._lock = threading.Lock()
        self._armed = None  # method, fault, times
        self._types = {
            "Read": wire.store.ReadResponse,
            "Write": wire.store.WriteRequest,
        }
        self._channel = grpc.insecure_channel(target, options=MESSAGE_LIMIT)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(16), options=MESSAGE_LIMIT
        )
        self._server.add_generic_rpc_handlers((_Every(self._serve),))
        if self._server.add_insecure_port(listen) == 0:
            raise AssertionError(f"the proxy cannot listen on {listen}")
        self._server.start()

    def arm(self, method, fault, times=1):
        """The next `times` calls of `method` get the fault."""
        with self._lock:
            self._armed = [method, fault, times]

    def disarm(self):
        with self._lock:
            self._armed = None

    def stall(self, messages, chance, strike):
        """A fault: nothing more passes until `resume`."""
        left = 2 + chance.randrange(8)
        for message in messages:
            if left == 0:
                strike()
                self.stalled.set()
                self._resume.wait(STALL_LIMIT_S)
            left -= 1
            yield message

    def resume(self):
        self._resume.set()

    def close(self):
        self.resume()
        self._server.stop(grace=None)
        self._channel.close()

    def _take(self, method):
        with self._lock:
            self.calls[method] += 1
            if self._armed is None or self._armed[0] != method:
                return None
            if self._armed[2] == 0:
                return None
            self._armed[2] -= 1
            return self._armed[1]

    def _damage(self, method, fault, messages):
        parse = self._types[method].FromString
        chance = random.Random(self.seed)

        def strike():
            self.fired[fault.__name__] += 1

        for message in fault(map(parse, messages), chance, strike):
            yield message.SerializeToString()

    def _serve(self, method, requests, context):
        fault = self._take(method)
        if fault is not None and method == "Write":
            requests = self._damage(method, fault, requests)
        call = self._channel.stream_stream(SERVICE + method)(
            requests, timeout=context.time_remaining()
        )
        context.add_callback(call.cancel)
        replies = call
        if fault is not None and method == "Read":
            replies = self._damage(method, fault, call)
        try:
            yield from replies
        except Broken:
            call.cancel()
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")
        except grpc.RpcError as error:
            context.set_trailing_metadata(error.trailing_metadata() or ())
            context.abort(error.code(), error.details())


class _Every(grpc.GenericRpcHandler):
    """Takes every method as a stream of bytes in both directions."""

    def __init__(self, serve):
        self._serve = serve

    def service(self, details):
        method = details.method.rpartition("/")[2]
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: self._serve(method, requests, context)
        )
