# Shared by demo.sh and test.sh, which source it: missing packages, the number of build jobs. Not a script of its own.
# shellcheck shell=bash disable=SC2034

BUILD_PACKAGES=(g++ cmake ninja-build ccache pkg-config
  libsimdjson-dev libcli11-dev libtomlplusplus-dev libfmt-dev libpcre2-dev libutf8proc-dev)
TEST_PACKAGES=(libgtest-dev clang libclang-rt-dev
  python3 python3-numpy python3-jinja2 python3-selenium)
# Not packaged everywhere (Ubuntu ships its browser outside apt); what needs them is skipped with a line that says so.
TEST_OPTIONAL=(clang-format-14 chromium chromium-driver)

# Prints those of its arguments that are not installed, one a line.
missing_packages() {
  local installed
  # shellcheck disable=SC2016  # the dollar signs are dpkg-query's
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/ installed$//p' || true)
  printf '%s\n' "$@" | grep -vxF "${installed:-none at all}" || true
}

# apt-get, quietly, as root; its output is shown only when it fails.
apt_get() {
  local as_root=() log
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  log=$(mktemp)
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq "$@" \
    >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# Installs what is missing of the packages named; offline and silent when nothing is.
need_packages() {
  local missing
  command -v dpkg-query >/dev/null || {
    echo "setup: this is no Debian or Ubuntu; these packages are taken to be there: $*" >&2
    return
  }
  mapfile -t missing < <(missing_packages "$@")
  [ "${#missing[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    echo "setup: neither root nor sudo. Ask for: apt-get install ${missing[*]}" >&2
    return 1
  fi
  echo "setup: installing ${missing[*]}" >&2
  apt_get update
  apt_get install --no-install-recommends -y "${missing[@]}"
}

# The same for packages that may not exist here: one that cannot be had is named and left out.
want_packages() {
  local package
  command -v dpkg-query >/dev/null || return 0
  while read -r package; do
    if ! apt-cache show "$package" >/dev/null 2>&1; then
      echo "setup: no package $package here; the checks that need it are skipped" >&2
    elif ! apt_get install --no-install-recommends -y "$package"; then
      echo "setup: $package did not install; the checks that need it are skipped" >&2
    fi
  done < <(missing_packages "$@")
}

# Jobs for the compiler: the cores this process may use, cut to the container's CPU quota.
build_jobs() {
  local jobs quota=max period=100000
  jobs=$(nproc)
  if [ -r /sys/fs/cgroup/cpu.max ]; then
    read -r quota period </sys/fs/cgroup/cpu.max
  elif [ -r /sys/fs/cgroup/cpu/cpu.cfs_quota_us ]; then
    read -r quota </sys/fs/cgroup/cpu/cpu.cfs_quota_us
    read -r period </sys/fs/cgroup/cpu/cpu.cfs_period_us
  fi
  if [[ "$quota" =~ ^[1-9][0-9]*$ ]] && ((jobs > (quota + period - 1) / period)); then
    jobs=$(((quota + period - 1) / period))
  fi
  echo "$jobs"
}
