"""`python -m timing [--seconds S] [NAME …]`: measure, and print a table. 1 if something leaks, or a control
does not.

A machine that does other things meanwhile makes the test blind, not wrong: the controls show how blind.
"""

from __future__ import annotations

import argparse
import sys

from timing.kernels import CONTROLS, MEASURED
from timing.welch import LEAKS, SUSPICIOUS, measure


def main() -> int:
    """Measure all that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m timing", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*MEASURED, *CONTROLS])}; default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each")
    arguments = parser.parse_args()
    wrong = 0
    print("| code | measurements | median | largest abs(t) | |\n|---|---:|---:|---:|---|")
    for name, prepare in {**MEASURED, **CONTROLS}.items():
        if arguments.names and name not in arguments.names:
            continue
        found = measure(prepare, arguments.seconds)
        says = "leaks" if found.t > LEAKS else "suspicious" if found.t > SUSPICIOUS else "nothing is seen"
        wrong += (found.t > LEAKS) != (name in CONTROLS)
        print(
            f"| `{name}` | {found.count:,} | {found.median_us:,.1f} µs | {found.t:.1f} | {says} |", flush=True
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
