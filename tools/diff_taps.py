#!/usr/bin/env python3
"""Compares two directories that MOXIE_TAP wrote and names the first activation that differs, by step and in the order
of the forward pass.

    MOXIE_TAP=a MOXIE_KERNELS=ref moxie run MODEL "text" -n 4 --temp 0
    MOXIE_TAP=b moxie run MODEL "text" -n 4 --temp 0
    tools/diff_taps.py a b [--tolerance 1e-4]

Exit code: 0 if all agree, 1 if one differs or is missing on one side, 2 if a directory cannot be read.
"""

import argparse
import pathlib
import sys

import numpy as np

IN_LAYER = ["attention", "router_logits", "ffn", "hidden"]
LAST = 1 << 30


def forward_order(file_name):
    """Sort key of STEP.NAME.npy, NAME one of embedding, layers.N.PART, final_norm, logits."""
    step, name = file_name.removesuffix(".npy").split(".", 1)
    if name.startswith("layers."):
        _, layer, part = name.split(".", 2)
        return int(step), int(layer), IN_LAYER.index(part) if part in IN_LAYER else len(IN_LAYER), part
    return int(step), {"embedding": -1, "final_norm": LAST, "logits": LAST + 1}.get(name, LAST + 2), 0, name


def taps(directory):
    names = {path.name for path in pathlib.Path(directory).glob("*.npy")}
    if not names:
        print(f"{directory}: no .npy files of MOXIE_TAP", file=sys.stderr)
        sys.exit(2)
    return names


def difference(a, b):
    """Largest absolute difference and where it is; equal NaNs and infinities count as equal."""
    with np.errstate(invalid="ignore"):
        gap = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a.astype(np.float64) - b))
    gap[np.isnan(gap)] = np.inf
    if gap.size == 0:
        return 0.0, ()
    where = np.unravel_index(np.argmax(gap), gap.shape)
    return float(gap[where]), tuple(int(i) for i in where)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--tolerance", type=float, default=0.0, help="largest difference that counts as none")
    arguments = parser.parse_args()
    in_a, in_b = taps(arguments.a), taps(arguments.b)
    most, most_name = 0.0, ""
    for file_name in sorted(in_a | in_b, key=forward_order):
        step, name = file_name.removesuffix(".npy").split(".", 1)
        what = f"step {int(step)} {name}"
        if file_name not in in_a or file_name not in in_b:
            print(f"{what}: only in {arguments.a if file_name in in_a else arguments.b}")
            return 1
        a, b = (np.load(pathlib.Path(d) / file_name) for d in (arguments.a, arguments.b))
        if a.shape != b.shape:
            print(f"{what}: shape {list(a.shape)} against {list(b.shape)}")
            return 1
        gap, where = difference(a, b)
        if gap > arguments.tolerance:
            print(f"{what}: max abs difference {gap:.3g} at {list(where)}: {a[where]:.9g} against {b[where]:.9g}")
            return 1
        if gap > most:
            most, most_name = gap, what
    print(f"{len(in_a)} activations agree" + (f"; largest difference {most:.3g} in {most_name}" if most else ", bit for bit"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
