"""`python -m bench NAME [options]`: run bench/NAME.py."""

import importlib
import sys
from pathlib import Path

NAMES = tuple(
    name
    for name in (
        *(
            "engine",
            "company",
            "matching",
            "directory",
            "sizes",
            "members",
            "publishing",
            "changes",
            "day",
            "scale",
            "cluster",
            "admin",
            "quota",
            "crawl",
            "books",
            "labels",
            "web",
            "lookup_rows",
            "lookup",
        ),
        "server",
        "refusals",
    )
    if (Path(__file__).parent / f"{name}.py").exists()
)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        print(f"usage: python -m bench {{{'|'.join(NAMES)}}} [--help]", file=sys.stderr)
        raise SystemExit(2)
    importlib.import_module(f"bench.{sys.argv[1]}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
