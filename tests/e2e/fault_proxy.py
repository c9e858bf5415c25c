"""A proxy between a role and the store that breaks what passes, by a seed.

It knows the frames of CacheStoreService: those that a Read returns and those
that a Write carries.  Everything else passes as it came.
"""
import collections
import random
import threading
from concurrent import futures

import frame_faults
import grpc

SERVICE = "/winnow.v1.CacheStoreService/"
MESSAGE_LIMIT = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", 16 << 20),
]
STALL_LIMIT_S = 120  # a test is over by then


class FaultProxy:
    """Listens at `listen` and asks `target`.  Close it."""

    def __init__(self, listen, target, wire, seed=20240607):
        self.fired = collections.Counter()  # by name of the fault
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
        except frame_faults.Broken:
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
