"""The bill of materials of an installation: `python release/sbom.py PYTHON OUT.json`.

cyclonedx-py describes what the environment of PYTHON holds (CycloneDX 1.6, validated against its schema).
What would differ from one run to the next is taken out: the time, the serial number, paths of this machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_TOOL = "cyclonedx_py"
_ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write the file."""
    python, out = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.json"
        options = [
            "--output-reproducible",
            "--validate",
            "--sv",
            "1.6",
            "--of",
            "JSON",
            "--output-file",
            str(made),
        ]
        command = [
            sys.executable,
            "-m",
            _TOOL,
            "environment",
            *options,
            "--pyproject",
            str(_ROOT / "pyproject.toml"),
            python,
        ]
        subprocess.run(command, check=True)
        found = json.loads(made.read_bytes())
    found.pop("serialNumber", None)
    found.get("metadata", {}).pop("timestamp", None)
    text = json.dumps(_plain(found), indent=1, sort_keys=True) + "\n"
    out.write_text(text)
    print(f"{out}: {len(found['components'])} components")


def _plain(value: Any) -> Any:
    """Without references to files of this machine, lists of objects in one order."""
    if isinstance(value, dict):
        kept = {name: _plain(one) for name, one in value.items()}
        if "externalReferences" in kept:
            kept["externalReferences"] = [
                one for one in kept["externalReferences"] if not one["url"].startswith("file:")
            ]
        return kept
    if isinstance(value, list):
        return sorted(map(_plain, value), key=lambda one: json.dumps(one, sort_keys=True))
    return value


if __name__ == "__main__":
    main()
