#!/usr/bin/env bash
# The first command of the README: installs what is missing, builds moxie, and runs the bundled model. Builds no tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=tools/setup.sh
. tools/setup.sh

need_packages "${BUILD_PACKAGES[@]}"

# A build directory that is there already, with tests or without, is used as it stands.
[ -f build/release/build.ninja ] || cmake --preset release -DMOXIE_TESTS=OFF --log-level=WARNING >/dev/null
echo "building build/release/moxie" >&2
quiet=()
[ -t 2 ] || quiet=(-- --quiet)
cmake --build build/release --target moxie -j "$(build_jobs)" "${quiet[@]}" >&2

moxie=build/release/moxie
model=models/moe-7m
show() { printf '\n$' >&2; printf ' %q' "$@" >&2; printf '\n' >&2; "$@" </dev/null; }

show "$moxie" run "$model" "ROMEO:" -n 200 --temp 0.7 --seed 1
echo
show "$moxie" route "$model" "def main(): return 42. Der Hund ist im Garten." --html build/route.html
echo
echo "the routing page: $PWD/build/route.html"
