"""Measures what the speed table compares, one piece at a time.

A piece is one process, ours or llama.cpp's, which holds the lock that others on
the machine may wait for, and is repeated while others disturb it.
"""
import contextlib
import fcntl
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import time

import llamacpp
import machine
import speed_rows

START_SECONDS = 60


def say(text):
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(path):
    """Alone among those who hold the same file's lock, however shared."""
    if not path:
        yield
        return
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def figure_key(figure, context, sequences):
    """Under which a file keeps a figure of llama.cpp."""
    return f"{figure}/{context}x{sequences}"


class Bench:
    """The program under test and its peer, with the options of this run."""

    def __init__(self, options):
        self.options = options
        self.settings = {}  # flash attention where llama.cpp is best, by key
        self.llama_date = None  # of its figures, if they are not of this run
        self._llama = {}  # its figures by key, of all alternations
        self._kept = {}
        self._python = None

    def record(self, key, value):
        self._llama.setdefault(key, []).append(value)

    def keep(self, earlier):
        """Takes over what another run's file says of llama.cpp."""
        self.settings.update(earlier["llama_cpp_flash_attention"])
        self._kept = earlier["llama_cpp"]

    def llama_figures(self):
        """{key: spread} of what was measured or kept."""
        own = {key: machine.spread(v) for key, v in self._llama.items()}
        return {**self._kept, **own}

    def quiet(self, measure):
        """Runs `measure`, again while others are busy; (result, others)."""
        best = None
        for _ in range(self.options.tries):
            with locked(self.options.lock):
                machine.wait_quiet(self.options.wait_quiet)
                with machine.LoadMeter() as meter:
                    result = measure()
            if best is None or meter.other_cores < best[1]:
                best = (result, meter.other_cores)
            if best[1] <= speed_rows.QUIET_CORES:
                break
            say(f"others kept {meter.other_cores:.2f} cores busy")
        return best

    def winnow(self, *arguments):
        """One `winnow bench`; (its JSON, others)."""
        command = [self.options.winnow, "bench", *map(str, arguments), "--json"]
        say(" ".join(command[1:]))

        def measure():
            done = subprocess.run(
                command, stdout=subprocess.PIPE, env=own_environment()
            )
            if done.returncode:
                sys.exit(f"{' '.join(command)}: exit {done.returncode}")
            return json.loads(done.stdout)

        return self.quiet(measure)

    def engine(self, section, *arguments):
        return self.winnow(
            *("engine", "--model", self.options.model),
            *("--sections", section, "--repeats", 1),
            *("--decode-tokens", self.options.generate + 1),
            *("--policies", f"full,razor,window={self.options.window}"),
            *arguments,
        )

    def llama(self, context, flash, sequences=1):
        """One measurement of llama.cpp; (its row, others)."""
        if self._python is None:
            self._python = llamacpp.interpreter(
                self.options.work, self.options.backend
            )
        job = llamacpp.job_of(self.options, context, flash, sequences)
        say(f"llama.cpp {context} x {sequences}, flash attention {flash}")
        row, others = self.quiet(lambda: llamacpp.run(self._python, job))
        if "refused" in row:
            sys.exit(f"llama.cpp: {row['refused']}; try --backend gccnoamx")
        return row, others

    def llama_best(self, context, figures, sequences=1):
        """{figure: (value, others)}, each with the setting that is its best.

        The first call tries both settings, later ones those that were best.
        """
        keys = {f: figure_key(f, context, sequences) for f in figures}
        known = {self.settings.get(key) for key in keys.values()}
        tried = {}
        for flash in (True, False) if None in known else sorted(known):
            tried[flash] = self.llama(context, flash, sequences)
        best = {}
        for figure, key in keys.items():
            rates = {
                flash: row[figure]["median"]
                for flash, (row, _) in tried.items()
            }
            flash = self.settings.setdefault(key, max(rates, key=rates.get))
            best[figure] = (rates[flash], tried[flash][1])
            self.record(key, rates[flash])
        return best


def own_environment():
    """Without settings that were meant for other servers."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WINNOW_")
    }


def start_server(options):
    """Starts `winnow serve`; seconds until it is ready, resident bytes then."""
    pathlib.Path(options.model).read_bytes()  # into the page cache
    with tempfile.TemporaryDirectory(prefix="winnow-start-") as folder:
        began = time.perf_counter()
        server = subprocess.Popen(
            [options.winnow, "serve", "--model", options.model]
            + ["--listen", f"unix:{folder}/serve.sock"]
            + ["--metrics-listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=own_environment(),
        )
        try:
            await_ready(server, began + START_SECONDS)
            seconds = time.perf_counter() - began
            resident = machine.resident_bytes(server.pid)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    return seconds, resident


def await_ready(server, deadline):
    log = b""
    pipe = server.stdout.fileno()
    while b" ready: " not in log:
        left = deadline - time.perf_counter()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise RuntimeError(f"not ready in {START_SECONDS} s:\n{log[-800:]}")
        chunk = os.read(pipe, 4096)
        if not chunk:
            raise RuntimeError(f"winnow serve has ended:\n{log[-800:]}")
        log += chunk
