#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures how long a disk of 1 TiB, half full, takes to serve again.

    bench/start.py [--build DIR] [--folder DIR] [--size SIZE] [-o json]

The disk is a sparse file with real metadata (bench/start.c), about 1.5 GiB of them.  Each figure
is printed beside its limit.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 300
TIB = 1 << 40
MEMORY_MIB_PER_TIB = 150
DISK_MB_PER_S = 200
SETTLED_SECONDS_MAX = 60

# How the disk was left, heading, most seconds.
CASES = [
    ("clean", "after a clean shutdown", 3),
    ("crashed", "after a crash", 10),
]


def measure_one(program, folder, size, how):
    path = str(pathlib.Path(folder) / "disk")
    subprocess.run([program, "make", path, size, how], check=True, timeout=TIMEOUT_SECONDS)
    done = subprocess.run([program, "open", path], check=True, timeout=TIMEOUT_SECONDS,
                          stdout=subprocess.PIPE, text=True)
    figures = json.loads(done.stdout)
    besides = figures["resident_bytes"] - figures["checksum_bytes"]
    figures["settled_seconds_on_disk"] = \
        figures["settled_seconds"] + figures["settled_bytes"] / DISK_MB_PER_S / 1e6
    figures["memory_mib_per_tib"] = besides / (1 << 20) / (figures["mapped_bytes"] / TIB)
    return figures


def measure(build, folder="/dev/shm", size="1T"):
    """The figures of each case, by how the disk was left."""
    program = str(pathlib.Path(build) / "bench" / "bench_start")
    with tempfile.TemporaryDirectory(prefix="trilith-bench-", dir=folder) as own:
        return {how: measure_one(program, own, size, how) for how, _, _ in CASES}


def verdict(figure, limit):
    return "" if figure <= limit else "   TOO MUCH"


def print_figures(figures, size="1T"):
    print(f"\nstart of a disk of {size}, half full")
    for how, heading, seconds_max in CASES:
        seconds = figures[how]["seconds"]
        memory = figures[how]["memory_mib_per_tib"]
        print(f"  {heading:24} {seconds:7.2f} s           limit {seconds_max} s"
              f"{verdict(seconds, seconds_max)}")
        print(f"  {'':24} {memory:7.0f} MiB per TiB limit {MEMORY_MIB_PER_TIB} MiB, "
              f"besides checksums{verdict(memory, MEMORY_MIB_PER_TIB)}")
    crashed = figures["crashed"]
    settled = crashed["settled_seconds_on_disk"]
    print(f"  {'its open regions settled':24} {settled:7.1f} s           limit "
          f"{SETTLED_SECONDS_MAX} s{verdict(settled, SETTLED_SECONDS_MAX)}: "
          f"{crashed['suspect_regions']} regions, {crashed['settled_seconds']:.2f} s here and "
          f"{crashed['settled_bytes'] / 1e6:.0f} MB at {DISK_MB_PER_S} MB/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=SOURCE / "build")
    parser.add_argument("--folder", default="/dev/shm", help="where the disk is made")
    parser.add_argument("--size", default="1T", help="of the disk")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    args = parser.parse_args()

    try:
        figures = measure(args.build, args.folder, args.size)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"start: {error}", file=sys.stderr)
        return 1
    if args.output == "json":
        json.dump(figures, sys.stdout, indent=2)
        print()
    else:
        print_figures(figures, args.size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
