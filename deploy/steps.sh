# Shared by deploy/quickstart, tests/run and .ci/run: numbered steps whose
# output goes to a log, and a configure step that survives a moved tree.
# shellcheck shell=bash
#
# The sourcing script sets `root` (the tree) and `log` (a file).

if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' dim='' red='' green='' plain=''
fi

# Shows the last line of `log` on the terminal's current line, until it is
# killed or its parent is gone.
show_last_line() {
  local width
  width=$(($(tput cols 2>/dev/null || echo 80) - ${#label} - 8))
  [ "$width" -ge 20 ] || return 0
  while kill -0 $$ 2>/dev/null; do
    printf '\r\e[K  %s ... %s%.*s%s' "$label" "$dim" "$width" \
      "$(tail -n 1 "$log" | tr -cd '[:print:]')" "$plain"
    sleep 0.3
  done
}

# step LABEL ADVICE COMMAND...
# Runs a noisy command with its output in `log`; on a terminal its last line
# shows while it runs.  When it fails: the end of the log, ADVICE, exit 1.
step() {
  local label=$1 advice=$2 start=$SECONDS status=0
  shift 2
  printf '\n== %s\n' "$label" >>"$log"
  printf '  %s ... ' "$label"
  if [ -t 1 ]; then
    show_last_line &
    local shower=$!
    "$@" >>"$log" 2>&1 </dev/null || status=$?
    kill "$shower" 2>/dev/null || true
    wait "$shower" 2>/dev/null || true
    printf '\r\e[K  %s ... ' "$label"
  else
    "$@" >>"$log" 2>&1 </dev/null || status=$?
  fi
  if [ "$status" -eq 0 ]; then
    printf '%sdone%s in %d s\n' "$green" "$plain" $((SECONDS - start))
    return 0
  fi
  printf '%sfailed%s\n\n' "$red" "$plain"
  printf 'The end of %s:\n' "$log"
  tail -n 40 "$log" | cut -c 1-200 | sed 's/^/    /'
  printf '\n%s\n' "$advice"
  exit 1
}

# configure FOLDER [CMAKE OPTION...]
# Configures the tree into FOLDER; starts afresh where another tree was there.
configure() {
  local folder=$1 fresh=()
  shift
  if [ -f "$folder/CMakeCache.txt" ] &&
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" \
      "$folder/CMakeCache.txt"; then
    fresh=(--fresh)
  fi
  cmake ${fresh[@]+"${fresh[@]}"} -S "$root" -B "$folder" -G Ninja "$@"
}
