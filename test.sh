#!/usr/bin/env bash
# The second command of the README: installs what is missing, builds, and passes the tests. The last line is
# "N passed, N failed"; logs lie in build/logs. FUZZ_SECONDS (10) is the time a parser is fuzzed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=tools/setup.sh
. tools/setup.sh

logs=build/logs
jobs=$(build_jobs)
passed=0
failed=0
mkdir -p "$logs"

# A step's line: what it is, shown while it goes on; then how it went, and seconds.
begin() {
  started=$SECONDS
  printf '%-34s ' "$1"
}
end() { printf '%s (%ds)\n' "$1" "$((SECONDS - started))"; }

# check NAME COMMAND...: one check; on failure the end of its output is shown.
check() {
  local name=$1 log
  shift
  log="$logs/${name// /-}.log"
  begin "$name"
  if "$@" >"$log" 2>&1 </dev/null; then
    passed=$((passed + 1))
    end ok
  else
    failed=$((failed + 1))
    end FAILED
    tail -n 40 "$log"
    return 1
  fi
}

# build PRESET [TARGET...]: configures and builds; all targets when none is named.
build() {
  local preset=$1 target targets=()
  shift
  for target in "$@"; do targets+=(--target "$target"); done
  cmake --preset "$preset" --log-level=WARNING && cmake --build --preset "$preset" -j "$jobs" "${targets[@]}"
}

# why_skipped TEST LOG: what the test said of it.
why_skipped() {
  awk -v test="$1" '/^[0-9]+\/[0-9]+ Testing: / { ours = $3 == test }
    ours && /: Skipped$/ { getline; print; exit }
    ours && sub(/^SKIPPED: /, "") { print; exit }' "$2"
}

# run_ctest PRESET [ctest flags]: adds what ctest counted.
run_ctest() {
  local preset=$1 log="$logs/ctest-$1.log" ok=0 bad total skipped name
  shift
  begin "tests: $preset"
  ctest --preset "$preset" -j "$jobs" --no-tests=error "$@" >"$log" 2>&1 </dev/null || ok=$?
  total=
  read -r bad total < <(sed -nE 's/.*tests passed, ([0-9]+) tests failed out of ([0-9]+)/\1 \2/p' "$log") || true
  if [ -z "$total" ]; then # ctest itself failed
    bad=1 total=1
  elif [ "$ok" -ne 0 ] && [ "$bad" -eq 0 ]; then
    bad=1 total=$((total + 1))
  fi
  skipped=$(grep -cE '\*\*\*Skipped' "$log" || true)
  passed=$((passed + total - bad - skipped))
  failed=$((failed + bad))
  end "$((total - bad - skipped)) of $total"
  while read -r name; do
    echo "  skipped: $name: $(why_skipped "$name" "build/$preset/Testing/Temporary/LastTest.log")"
  done < <(sed -nE 's/.*Test +#[0-9]+: ([^ ]+) .*\*\*\*Skipped.*/\1/p' "$log")
  if [ "$ok" -ne 0 ]; then
    grep -vE 'Passed +[0-9.]+ sec|^ +Start +[0-9]+:' "$log" | tail -n 150
  fi
}

# The test executables of the rooms named that have tests.
test_targets() {
  local room
  for room in "$@"; do
    if compgen -G "tests/$room/*.cpp" >/dev/null; then echo "test_$room"; fi
  done
}

check_format() {
  local file bad=0
  while read -r file; do
    if ! clang-format-14 --dry-run --Werror "$file" 2>/dev/null; then
      echo "$file: run clang-format-14 -i on it"
      bad=1
    fi
  done < <(find src tests fuzz bench -name '*.h' -o -name '*.cpp' | sort)
  return "$bad"
}

fuzz_all() {
  local name verdict log="$logs/fuzz.log"
  begin "fuzzing"
  tools/run_fuzzers.sh >"$log" 2>&1 </dev/null || true
  grep -q -E '^(ok|FAIL) ' "$log" || echo "FAIL fuzz: nothing ran" >>"$log"
  end done
  while read -r verdict name _; do
    if [ "$verdict" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    echo "  $name: $verdict"
  done < <(grep -E '^(ok|FAIL) ' "$log")
  if grep -q '^FAIL ' "$log"; then grep -v '^ok ' "$log"; fi
}

need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
want_packages "${TEST_OPTIONAL[@]}"

# Cheap checks first, then the build that users get, then the sanitizers.
check "floors and file rules" python3 tools/check_floors.py || true
if command -v clang-format-14 >/dev/null; then
  check "format" check_format || true
else
  echo "format: skipped, no clang-format-14 here"
fi
if check "build: release" build release; then run_ctest release; fi
# Left to the release run, for they take minutes here and run code that other tests reach: much text, a larger model's
# bits, bits of one format a model (they meet in the needle's mixed models, and one by one in tests/kernels).
mapfile -t core < <(test_targets base format text tensor spec kernels ops store plan moe model infer quantize train report)
if check "build: dev (ASan, UBSan)" build dev "${core[@]}"; then run_ctest dev -E '_NOT_BUILT$|^tools\.|^browser\.|EvaluatePeer|Models/SameBits.*moe_7m|OneFormat/Needle'; fi
mapfile -t threaded < <(test_targets base model infer)
if check "build: tsan" build tsan "${threaded[@]}"; then run_ctest tsan -R 'ThreadPool|Engine|greedy_ids_match' -E '_NOT_BUILT$'; fi
mapfile -t fuzzers < <(find fuzz -name '*.cpp' -printf 'fuzz_%f\n' | sed 's/\.cpp$//' | sort)
if check "build: fuzz (clang)" build fuzz "${fuzzers[@]}"; then fuzz_all; fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
