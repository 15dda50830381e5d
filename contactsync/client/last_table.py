"""The last private look-up of each audience that was finished: `rows.json` in the folder of a server."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contactsync.client.core.row_lookups import LastTable
from contactsync.foundation import durable

_KEY = re.compile(r"[0-9a-f]{64}")


def recall_table(path: Path, audience: str) -> LastTable | None:
    """What is kept of an audience; None if nothing is, or it is damaged: all contacts are asked for."""
    try:
        kept = dict(_kept(path)[audience])
        last = LastTable(**{**kept, "waiting": tuple(kept["waiting"])})
    except (KeyError, TypeError, ValueError):
        return None
    types = tuple(map(type, (last.key, last.epoch, last.edition, last.labels)))
    if types != (str, int, int, bool) or not all(isinstance(one, str) for one in last.waiting):
        return None
    return last if _KEY.fullmatch(last.key) else None


def keep_table(path: Path, audience: str, last: LastTable | None) -> None:
    """Keep it, durably; None: a look-up has begun, or another mode has changed what is known."""
    before = _kept(path)
    after = {who: one for who, one in before.items() if who != audience}
    if last is not None:
        after[audience] = asdict(last)
    if after != before:
        durable.write(path, json.dumps({"version": 1, "audiences": after}, indent=1).encode())


def _kept(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes())["audiences"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
