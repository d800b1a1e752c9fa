#!/usr/bin/env bash
# Fuzzes every parser (fuzz/NAME.cpp) for FUZZ_SECONDS each, two at a time, on the build of the `fuzz` preset. It does
# not build. Seeds: fuzz/corpus/NAME; dictionary: fuzz/NAME.dict; what it finds on the way: build/fuzz/corpus/NAME.
# Prints "ok NAME ..." or "FAIL NAME ..." a target; a crash leaves its input in build/fuzz/crashes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${FUZZ_SECONDS:-10}
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || { echo "FUZZ_SECONDS is a whole number of seconds, got '$seconds'" >&2; exit 2; }

if [ "${1:-}" = --one ]; then
  name=$2
  corpus=build/fuzz/corpus/$name
  log=build/fuzz/$name.log
  mkdir -p "$corpus" build/fuzz/crashes
  arguments=("-max_total_time=$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536
    "-artifact_prefix=build/fuzz/crashes/$name-" "$corpus")
  [ ! -d "fuzz/corpus/$name" ] || arguments+=("fuzz/corpus/$name")
  [ ! -f "fuzz/$name.dict" ] || arguments+=("-dict=fuzz/$name.dict")
  if "build/fuzz/fuzz_$name" "${arguments[@]}" >"$log" 2>&1 </dev/null; then
    echo "ok $name $(grep -o 'Done .*' "$log" | tail -n 1)"
  else
    echo "FAIL $name (whole log: $log)"
    grep -m 1 -A 12 -E 'ERROR|runtime error|CHECK failed' "$log" || tail -n 12 "$log"
    grep 'Test unit written' "$log" || true
    exit 1
  fi
  exit 0
fi

shopt -s nullglob
names=()
for source in fuzz/*.cpp; do names+=("$(basename "$source" .cpp)"); done
[ "${#names[@]}" -gt 0 ] || { echo "FAIL no fuzz targets"; exit 1; }
printf '%s\n' "${names[@]}" | xargs -P 2 -I @@ tools/run_fuzzers.sh --one @@
