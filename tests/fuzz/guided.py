"""One target under atheris: coverage of the package decides which inputs are kept and changed further.

Runs in a process of its own, because atheris ends it. What is found is written down at once, and the run goes on.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from fuzz.target import Finding, Target, check, warm_up

_NOT_INSTRUMENTED = ["contactsync.kernels"]  # Numba compiles these, and takes no other bytecode
_HANGS_AFTER, _MEMORY = 60, 3000  # seconds, MiB: of compiled code, which target.py cannot interrupt


def run(name: str, seconds: int, place: Path) -> None:
    """Fuzz one target. `place` has its corpus, and `findings/`. Never returns."""
    import atheris

    with atheris.instrument_imports(include=["contactsync"], exclude=_NOT_INSTRUMENTED):
        from fuzz import corpus, table

    target = table.named(name)
    inputs, findings = place / "inputs", place / "findings"
    for folder in (inputs, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for data in corpus.seeds_of(target):
        (inputs / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    warm_up(target, corpus.seeds_of(target)[:20])
    counted = [0]

    def one(data: bytes) -> None:
        counted[0] += 1
        if counted[0] % 1000 == 0:
            (place / "executions").write_text(str(counted[0]))
        try:
            check(target, data)
        except Finding as finding:
            found = findings / finding.signature
            if not found.exists():
                found.write_bytes(data)
                (findings / f"{finding.signature}.txt").write_text(
                    f"{finding}\n\nrepeat: python -m fuzz repeat {name} {found}\n"
                )

    options = [
        *(f"-max_total_time={seconds}", f"-max_len={target.longest}", f"-timeout={_HANGS_AFTER}"),
        *(
            f"-rss_limit_mb={_MEMORY}",
            f"-artifact_prefix={findings}/",
            "-print_final_stats=1",
        ),
        *dictionary(target, place / "words"),
        *("-reload=0", "-use_value_profile=1", str(inputs)),
    ]
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


def dictionary(target: Target, file: Path) -> list[str]:
    """The option that names a target's words. libFuzzer ends at once if it is given a file without any."""
    if not target.words:
        return []
    file.write_text("".join(map(_dictionary_line, target.words)))
    return [f"-dict={file}"]


def _dictionary_line(word: bytes) -> str:
    return '"' + "".join(rf"\x{octet:02x}" for octet in word[:60]) + '"\n'
