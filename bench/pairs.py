#!/usr/bin/env python3
"""Runs two or more commands in turn and compares their tokens a second: machines drift, pairs drift together.

usage: bench/pairs.py [--rounds 3] COMMAND COMMAND...     each must print "... N tok/s ..."; ratios are to the first
"""
import argparse
import re
import statistics
import subprocess
import sys


def rate(command):
    output = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"([\d,.]+) tok/s", output)
    if not found:
        sys.exit(f"{command}: no tok/s in its output:\n{output}")
    print(output.strip().splitlines()[-1], file=sys.stderr)
    return float(found[-1].replace(",", ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("commands", nargs="+")
    options = parser.parse_args()
    rounds = [[rate(command) for command in options.commands] for _ in range(options.rounds)]
    for index, command in enumerate(options.commands):
        rates = [each[index] for each in rounds]
        ratios = [each[0] / each[index] for each in rounds]
        print(f"{statistics.median(rates):10.0f} tok/s [{min(rates):.0f}-{max(rates):.0f}]  first is "
              f"{statistics.median(ratios):.2f}x [{min(ratios):.2f}-{max(ratios):.2f}]  {command}")


if __name__ == "__main__":
    main()
