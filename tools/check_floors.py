#!/usr/bin/env python3
"""Checks the house: which room includes which, where vendor headers stand, and how a file opens. No style checks: those are clang-format's.

usage: tools/check_floors.py [ROOT]      prints FILE:LINE: what is wrong, and leaves with 1 if anything is
"""
import fnmatch
import pathlib
import re
import sys

# An include points to a lower floor or stays in its own room; rooms of one floor do not know each other.
FLOORS = {
    "base": 1,
    "format": 2, "device": 2, "text": 2,
    "kernels": 3, "tensor": 3, "comm": 3, "spec": 3,
    "ops": 4, "store": 4, "plan": 4,
    "moe": 5,
    "model": 6,
    "train": 7, "infer": 7, "quantize": 7, "report": 7,
    "serve": 8,
    "cli": 9,
}

# Vendor header -> the files below src/ that may include it.
VENDORS = {
    "fmt/*": ["*"],
    "simdjson.h": ["base/json.cpp"],
    "pcre2.h": ["text/regex.cpp"],
    "utf8proc.h": ["text/unicode.cpp", "text/jinja_text.cpp", "text/jinja_print.cpp"],
    "CLI/*": ["cli/*"],
    "toml++/*": ["train/config.cpp"],
    "immintrin.h": ["kernels/cpu/*"],
    "cpuid.h": ["base/machine.cpp"],
    "gnu/libc-version.h": ["base/machine.cpp"],
}

# The system: the C++ library has no dot in its names; of C and POSIX, what is listed here.
SYSTEM = {"fcntl.h", "poll.h", "pthread.h", "sched.h", "signal.h", "spawn.h", "time.h", "unistd.h", "linux/*", "sys/*"}

MAX_LINES = 500
SOFT_LINES = 400
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def quoted_include_problem(source, name, src):
    """What is wrong with #include "name" in src/source, or None."""
    room, _, rest = name.partition("/")
    own = source.parts[0]
    if room not in FLOORS or not rest or ".." in name.split("/"):
        return f'write own headers as "room/file.h" from src/, got "{name}"'
    if not (src / name).is_file():
        return f'there is no src/{name}'
    if room == own:
        return None
    if FLOORS[room] == FLOORS[own]:
        return f"{own} and {room} stand side by side on floor {FLOORS[own]} and do not know each other: \"{name}\""
    if FLOORS[room] > FLOORS[own]:
        return f"an include points only down: {own} (floor {FLOORS[own]}) may not include \"{name}\" (floor {FLOORS[room]})"
    return None


def angle_include_problem(source, name):
    """What is wrong with #include <name> in src/source, or None."""
    if name.partition("/")[0] in FLOORS:
        return f'own headers are included with quotes: "{name}"'
    for header, allowed in VENDORS.items():
        if fnmatch.fnmatchcase(name, header):
            if matches(source.as_posix(), allowed):
                return None
            return f"vendor header <{name}> belongs in {', '.join('src/' + a for a in allowed)} only"
    if "." not in name and "/" not in name or matches(name, SYSTEM):
        return None
    return f"<{name}> is neither the system's nor in the vendor table of tools/check_floors.py"


def include_problems(path, lines, src):
    source = path.relative_to(src)
    if source.parts[0] not in FLOORS:
        yield 1, f"src/{source.parts[0]} is no room of the house; the rooms stand in tools/check_floors.py"
        return
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match:
            quote, name = match.groups()
            problem = (angle_include_problem(source, name) if quote == "<"
                       else quoted_include_problem(source, name, src))
            if problem:
                yield number, problem


def file_problems(path, lines):
    opening = lines[0] if lines else ""
    speaks_through_header = path.suffix == ".cpp" and path.with_suffix(".h").is_file()
    if not speaks_through_header and not re.match(r"// \S+( \S+){2,}", opening):
        yield 1, "a file opens with a comment: one sentence, what it is and what it is not"
    if path.suffix == ".h" and "#pragma once" not in lines:
        yield 1, "a header has #pragma once"
    if len(lines) > MAX_LINES:
        yield len(lines), f"{len(lines)} lines; at most {MAX_LINES}: is this one idea?"


def check(root):
    """Returns (problems, warnings) of the tree below root, each a list of "path:line: text"."""
    problems, warnings = [], []
    src = root / "src"
    for folder in ("src", "tests", "fuzz", "bench"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in (".h", ".cpp"):
                continue
            lines = path.read_text(encoding="utf-8").splitlines()
            found = list(file_problems(path, lines))
            if folder == "src":
                found += include_problems(path, lines, src)
            name = path.relative_to(root).as_posix()
            problems += [f"{name}:{line}: {text}" for line, text in found]
            if SOFT_LINES < len(lines) <= MAX_LINES:
                warnings.append(f"{name}:{len(lines)}: {len(lines)} lines; a file has about {SOFT_LINES} at most")
    return problems, warnings


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent
    problems, warnings = check(root)
    for text in warnings:
        print(f"warning: {text}")
    for text in problems:
        print(text)
    print(f"{len(problems)} problems, {len(warnings)} warnings")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
