#!/usr/bin/env python3
"""Speed of llama.cpp, built for this machine, as a peer to compare with.

    tests/bench/llamacpp.py [--contexts 512,4096,8000] [--flash 1,0]
    tests/bench/llamacpp.py --sequences 8 --contexts 4096

The first run builds it (about ten minutes on two cores) below --work and needs
a compiler, CMake and the Python package index.  One process and one JSON line
for each (context, flash attention): tokens/s of prefill and of greedy decode
after it.  With --sequences N, N sequences of the context decode together, one
llama_batch of N tokens a step, each over memory of its own; tokens/s are those
of all together.  K and V are 16-bit floats.

Backends: gcc; gccnoamx, the same without repacked weights (on a CPU with AMX,
GCC 12.2 makes one whose first decode crashes); clang, the newest on PATH.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

import machine

PACKAGE = "llama-cpp-python==0.3.36"
CMAKE_ARGUMENTS = (
    "-DGGML_NATIVE=ON -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF "
    "-DLLAMA_BUILD_TESTS=OFF"
)
BACKENDS = ("gcc", "gccnoamx", "clang")


def build_environment(backend):
    arguments = CMAKE_ARGUMENTS
    if backend == "clang":
        names = (f"clang-{version}" for version in range(22, 14, -1))
        clang = next((name for name in names if shutil.which(name)), "clang")
        plus = clang.replace("clang", "clang++", 1)
        arguments += f" -DCMAKE_C_COMPILER={clang} -DCMAKE_CXX_COMPILER={plus}"
    return {
        **os.environ,
        "CMAKE_ARGS": arguments,
        "CMAKE_BUILD_PARALLEL_LEVEL": str(machine.usable_cores()),
        # A wheel that another compiler made must not be taken instead.
        "PIP_NO_CACHE_DIR": "1",
    }


def interpreter(work, backend):
    """The Python that has llama.cpp; built if it is not there yet."""
    name = "llama-clang-venv" if backend == "clang" else "llama-gcc-venv"
    folder = pathlib.Path(work).resolve() / name
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    if stamp.exists() and stamp.read_text() == PACKAGE:
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"Building {PACKAGE} in {folder} ...", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", PACKAGE],
        check=True,
        env=build_environment(backend),
        stdout=sys.stderr,
    )
    stamp.write_text(PACKAGE)
    return python


def run(python, job):
    """Measures in a process of its own; returns its row."""
    here = pathlib.Path(__file__).resolve()
    done = subprocess.run(
        [python, here.with_name("llamacpp_child.py"), json.dumps(job)],
        stdout=subprocess.PIPE,
        stderr=None if job.get("verbose") else subprocess.DEVNULL,
        text=True,
    )
    rows = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0 and rows:
        return json.loads(rows[-1])
    return {**job, "refused": f"exit status {done.returncode}"}


def add_job_flags(parser):
    """The flags that jobs share."""
    parser.add_argument("--model", default=machine.default_model())
    parser.add_argument(
        "--work",
        default=str(machine.cache_folder() / "bench"),
        help="folder of the build (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=machine.usable_cores())
    parser.add_argument(
        "--backend", choices=BACKENDS, default="gcc", help="who compiled it"
    )
    parser.add_argument("--generate", type=int, default=64, help="decode steps")


def job_of(options, context, flash, sequences=1, repeats=1):
    return {
        "model": os.path.abspath(options.model),
        "backend": options.backend,
        "context_tokens": context,
        "flash_attention": flash,
        "sequences": sequences,
        "threads": options.threads,
        "generate": options.generate,
        "repeats": repeats,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_job_flags(parser)
    parser.add_argument("--contexts", default="512,4096,8000")
    parser.add_argument("--flash", default="1,0", help="flash attention")
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    python = interpreter(options.work, options.backend)
    for context in options.contexts.split(","):
        for flash in options.flash.split(","):
            job = job_of(
                options,
                int(context),
                flash == "1",
                options.sequences,
                options.repeats,
            )
            job["verbose"] = options.verbose
            machine.print_row(**run(python, job))


if __name__ == "__main__":
    main()
