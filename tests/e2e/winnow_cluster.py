"""Runs roles of the program as processes, for tests of the served system.

Every server binds loopback with port 0, or a socket in the test's folder, and
ends with the test.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
import urllib.request

import grpc
import winnow_cli

READY = re.compile(
    r"ready: grpc ([^;]*); metrics (?:http://([^/;]*)/metrics|off)"
)
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60
HELD = (
    "winnow_rpc_in_flight",
    "winnow_gateway_active_streams",
    "winnow_prefill_queue_depth",
    "winnow_prefill_running",
    "winnow_decode_queue_depth",
    "winnow_decode_running",
    "winnow_decode_reserved_bytes",
    "winnow_store_reserved_bytes",
    "winnow_store_leases",
    "winnow_store_writes_in_flight",
)


def stubs():
    """Imports the classes of the wire contract; returns their modules."""
    folder = os.environ["WINNOW_PYTHON_STUBS"]
    if folder not in sys.path:
        sys.path.insert(0, folder)
    from winnow.v1 import cache_store_pb2, cache_store_pb2_grpc
    from winnow.v1 import decode_pb2, decode_pb2_grpc
    from winnow.v1 import generation_pb2, generation_pb2_grpc
    from winnow.v1 import manifest_pb2, policy_pb2
    from winnow.v1 import prefill_pb2, prefill_pb2_grpc

    return types.SimpleNamespace(
        store=cache_store_pb2,
        store_rpc=cache_store_pb2_grpc,
        decode=decode_pb2,
        decode_rpc=decode_pb2_grpc,
        generation=generation_pb2,
        generation_rpc=generation_pb2_grpc,
        manifest=manifest_pb2,
        policy=policy_pb2,
        prefill=prefill_pb2,
        prefill_rpc=prefill_pb2_grpc,
    )


class Role:
    """One running process.  `address` and `metrics` are what it bound."""

    def __init__(self, arguments, folder):
        self.arguments = [
            os.environ["WINNOW_BINARY"],
            *map(os.fspath, arguments),
        ]
        self.process = subprocess.Popen(
            self.arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={
                name: value
                for name, value in os.environ.items()
                if not name.startswith("WINNOW_")  # settings, to the program
            },
        )
        self.log = []
        self.address = self.metrics = None
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if not self._ready.wait(START_TIMEOUT_S) or self.address is None:
            self.kill()
            raise AssertionError(f"{arguments} did not start: {self.text()}")

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line.decode("utf-8", errors="replace"))
            ready = READY.search(self.log[-1])
            if ready:
                self.address = ready[1].split(", ")[0]
                self.metrics = ready[2]
                self._ready.set()
        self._ready.set()  # it ended

    def text(self):
        """All that it logged so far."""
        return "".join(self.log)

    def scrape(self):
        """The text of /metrics."""
        url = f"http://{self.metrics}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.read().decode("utf-8")

    def metric(self, name, **labels):
        """The sum of a family's samples that have these labels."""
        total = 0.0
        for line in self.scrape().splitlines():
            sample = re.match(r"([a-zA-Z0-9_:]+)(?:\{(.*)\})? (\S+)$", line)
            if sample is None or sample[1] != name:
                continue
            have = dict(re.findall(r'(\w+)="([^"]*)"', sample[2] or ""))
            if all(have.get(key) == value for key, value in labels.items()):
                total += float(sample[3])
        return total

    def families(self):
        """The name and type of every family, those of the library left out."""
        types_of = re.compile(r"^# TYPE (\w+) (\w+)$", re.MULTILINE)
        found = types_of.findall(self.scrape())
        return {pair for pair in found if not pair[0].startswith("exposer_")}

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def left(self):
        """What requests hold now: {family: number}, without zeros."""
        held = {name: self.metric(name) for name in HELD}
        return {name: number for name, number in held.items() if number}

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def stop(self, timeout_s=STOP_TIMEOUT_S):
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.join(timeout_s)

    def kill(self):
        """SIGKILL."""
        if self.process.poll() is None:
            self.process.kill()
        return self.join(10)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def join(self, timeout_s=STOP_TIMEOUT_S):
        """Waits for the end; returns the exit code."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"runs after {timeout_s} s: {self.text()}")
        self._reader.join(10)
        self.process.stderr.close()
        return code


class ClusterTest(winnow_cli.WinnowTest):
    """A test that starts roles; they end with it."""

    def start(self, role, *arguments, listen="127.0.0.1:0"):
        """Starts `winnow ROLE`; the model is added where the role needs it."""
        command = [role, "--listen", listen, "--metrics-listen", "127.0.0.1:0"]
        if role != "store" and "--model" not in arguments:
            command += ["--model", winnow_cli.MODEL]
        running = Role([*command, *arguments], self.work)
        self.addCleanup(running.kill)
        return running

    def start_split(self, *options, model=None, tcp=False, gateway=False):
        """Starts store, prefill and decode, on UNIX sockets or over TCP, and a
        gateway before them if told; `options` are for prefill and decode.
        Returns them by name."""

        def listen(name):
            return "127.0.0.1:0" if tcp else self.socket(name)

        roles = types.SimpleNamespace()
        roles.store = self.start("store", listen=listen("store"))
        common = ("--store", roles.store.address)
        common += ("--model", model or winnow_cli.MODEL)
        for name in ("prefill", "decode"):
            role = self.start(name, *common, *options, listen=listen(name))
            setattr(roles, name, role)
        if gateway:
            roles.gateway = self.start(
                *("gateway", *common),
                *("--prefill", roles.prefill.address),
                *("--decode", roles.decode.address),
                listen=listen("gateway"),
            )
        return roles

    def chat_model(self):
        """The tiny model of single bytes with a chat template."""
        folder = self.tiny_model()
        template = winnow_cli.GOLDEN / "chat" / "smollm2.jinja"
        shutil.copy(template, folder / "chat_template.jinja")
        return folder

    def expect_nothing_left(self, *roles):
        """No request, sequence, lease or promised memory, soon."""
        for role in roles:
            self.eventually(
                lambda role=role: not role.left(),
                what=lambda role=role: f"left over: {role.left()}",
            )

    def generation(self, role):
        """A stub of the gateway in `role`."""
        return stubs().generation_rpc.GenerationServiceStub(
            self.channel(role.address)
        )

    def rpc_error(self, call):
        """The error that `call()` must raise."""
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        return raised.exception

    def socket(self, name):
        """A listen address in the test's folder."""
        return f"unix:{self.folder}/{name}.sock"

    def channel(self, address, **options):
        channel = grpc.insecure_channel(
            address,
            options=[("grpc.max_receive_message_length", 64 << 20)],
            **options,
        )
        self.addCleanup(channel.close)
        return channel

    def eventually(self, claim, timeout_s=15, what=lambda: "it never came"):
        """Waits until `claim()` is true; `what()` says what is not."""
        end = time.monotonic() + timeout_s
        while not claim():
            if time.monotonic() > end:
                self.fail(what())
            time.sleep(0.05)
