"""What every measurement says about the machine: who else was busy, memory."""
import json
import os
import pathlib
import statistics
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_model():
    """"model name" of /proc/cpuinfo; "unknown" if there is none."""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "unknown"


def usable_cores():
    return len(os.sched_getaffinity(0))


def _busy_seconds():
    """Of all cores since the start, without what a hypervisor stole."""
    with open("/proc/stat") as stat:
        words = [int(word) for word in stat.readline().split()[1:]]
    user, nice, system, _, _, irq, softirq = words[:7]
    return (user + nice + system + irq + softirq) / TICKS_PER_SECOND


def _own_seconds():
    return sum(os.times()[:4])  # user, system, and both of children


class LoadMeter:
    """Cores that others kept busy while a `with` block ran.

    What this process started counts as its own once it has been waited for.
    """

    def __enter__(self):
        self._began = time.perf_counter()
        self._busy = _busy_seconds()
        self._own = _own_seconds()
        return self

    def __exit__(self, *_):
        self.seconds = max(time.perf_counter() - self._began, 1e-9)
        others = _busy_seconds() - self._busy - (_own_seconds() - self._own)
        self.other_cores = max(0.0, others / self.seconds)
        return False


def wait_quiet(seconds, cores=0.1, window=0.4):
    """Waits, at most so long, until others keep fewer than `cores` busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with LoadMeter() as meter:
            time.sleep(window)
        if meter.other_cores < cores:
            return True
    return False


def resident_bytes(pid):
    """{"VmRSS": bytes, "VmHWM": ..., "RssAnon": ..., "RssFile": ...}"""
    wanted = ("VmRSS", "VmHWM", "RssAnon", "RssFile")
    found = {}
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            name, _, value = line.partition(":")
            if name in wanted:
                found[name] = int(value.split()[0]) << 10
    return found


def cache_folder():
    """Where models and builds of peers are kept."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(
        os.environ.get("HOME", "."), ".cache"
    )
    return pathlib.Path(
        os.environ.get("WINNOW_CACHE_DIR") or os.path.join(caches, "winnow")
    )


def default_model():
    return os.environ.get("WINNOW_TEST_MODEL") or str(
        cache_folder() / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    )


def spread(values):
    """Median, least and greatest of at least one value."""
    values = list(values)
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
    }


def print_row(**fields):
    print(json.dumps(fields), flush=True)
