"""`python -m fuzz [--minutes M] [--only NAME] …`: all targets in turn, guided by coverage, and what came of it.

`python -m fuzz repeat NAME FILE` gives one input to one target. `python -m fuzz list` names the targets.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from fuzz import corpus
from fuzz.target import Finding, Target, check

_WORK = Path("build") / "fuzz"
_LONGEST_KEPT = 4096  # octets of an input that goes into the tree


def main() -> int:
    """0: nothing was found; 1: something was."""
    arguments = _arguments()
    if arguments.action == "guided":
        from fuzz import guided

        guided.run(arguments.names[0], round(60 * arguments.minutes), _WORK / arguments.names[0])
    from fuzz import table

    if arguments.action == "list":
        for target in table.TARGETS:
            print(target.name)
        return 0
    if arguments.action == "repeat":
        return _repeat(table.named(arguments.names[0]), Path(arguments.names[1]))
    chosen = [table.named(name) for name in arguments.only] or list(table.TARGETS)
    seconds = 60 * arguments.minutes / len(chosen)
    found = sum(_fuzz(target, seconds, keep=not arguments.keep_nothing) for target in chosen)
    print(f"{found} findings; {corpus.octets():,} octets are kept in {corpus.FOLDER}")
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("action", nargs="?", default="run", choices=["run", "repeat", "list", "guided"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--keep-nothing", action="store_true", help="Leave the corpus in the tree as it is.")
    return parser.parse_args()


def _repeat(target: Target, file: Path) -> int:
    try:
        check(target, file.read_bytes())
    except Finding as finding:
        print(finding)
        raise
    print(f"{target.name}: nothing is wrong with this input")
    return 0


def _fuzz(target: Target, seconds: float, *, keep: bool) -> int:
    """Fuzz one target in a process of its own; how many findings there are."""
    from fuzz.minimise import worth_keeping

    place = _WORK / target.name
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "fuzz", "guided", target.name, "--minutes", str(seconds / 60)]
    with (place / "log").open("wb") as log:
        done = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, timeout=seconds + 600, check=False
        )
    said = (place / "log").read_text("utf-8", "replace")
    executions = said.rpartition("stat::number_of_executed_units:")[2].split()[:1]
    findings = [path for path in sorted((place / "findings").glob("*")) if path.suffix != ".txt"]
    kept = 0
    if keep and corpus.octets() < corpus.MOST_OCTETS:
        paths = [path for path in (place / "inputs").iterdir() if path.stat().st_size <= _LONGEST_KEPT]
        for data in worth_keeping(target, corpus.seeds_of(target), [path.read_bytes() for path in paths]):
            corpus.keep(target, data)
            kept += 1
    print(
        f"{target.name}: {''.join(executions) or '?'} executions, {len(findings)} findings, {kept} inputs kept",
        flush=True,
    )
    for path in findings:
        print(f"  {path.name}: python -m fuzz repeat {target.name} {os.path.relpath(path)}", flush=True)
    if done.returncode and not findings:
        print(f"  it ended with {done.returncode}: see {place / 'log'}", flush=True)
        return 1
    return len(findings)


if __name__ == "__main__":
    sys.exit(main())
