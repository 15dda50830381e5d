"""The table of rows that was looked up last, by audience: `rows.json` in the folder of a server."""

from __future__ import annotations

import json
import re
from pathlib import Path

from contactsync.client.core.row_lookups import LastTable
from contactsync.foundation import durable

_ROOT = re.compile(r"[0-9a-f]{64}")


def recall_table(path: Path, audience: str) -> LastTable | None:
    """What is kept of an audience; None if nothing is, or it is damaged: all contacts are asked for."""
    try:
        kept = json.loads(path.read_bytes())["audiences"][audience]
        last = LastTable(str(kept["root"]), int(kept["waiting"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return last if _ROOT.fullmatch(last.root) and last.waiting >= 0 else None


def keep_table(path: Path, audience: str, last: LastTable) -> None:
    """Keep it, durably."""
    try:
        audiences = dict(json.loads(path.read_bytes())["audiences"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        audiences = {}
    audiences[audience] = {"root": last.root, "waiting": last.waiting}
    durable.write(path, json.dumps({"version": 1, "audiences": audiences}, indent=1).encode())
