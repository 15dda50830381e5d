"""What a case is: a small address book, who reported such a book, and what a person would read from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """`content`: the bytes of the file, or the files of a folder by name. `expect`: each name with a number.

    A number is what follows `tel:`; None: the contact is there without one. `reported`: how many entries are
    reported as unreadable, or the least and the most. `note`: where the expectation is a decision.
    """

    name: str
    region: str
    source: str
    why: str
    content: bytes | str | dict[str, bytes | str]
    expect: tuple[tuple[str, str | None], ...]
    reported: int | tuple[int, int] = 0
    note: str = ""

    def write(self, folder: Path) -> Path:
        """Write the book into a folder."""
        path = folder / self.name
        if not isinstance(self.content, dict):
            path.write_bytes(_bytes(self.content))
            return path
        for name, content in self.content.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_bytes(content))
        return path


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content


def card(*lines: str, version: str = "3.0", end: str = "\r\n") -> str:
    """One vCard."""
    return end.join(["BEGIN:VCARD", f"VERSION:{version}", *lines, "END:VCARD", ""])


def people(number_lines: dict[str, str]) -> str:
    """A card with one TEL for each name."""
    return "".join(card(f"FN:{name}", f"TEL:{text}") for name, text in number_lines.items())


def read(*pairs: str | None) -> tuple[tuple[str, str | None], ...]:
    """Names and numbers in turn, as pairs."""
    names, numbers = pairs[::2], pairs[1::2]
    return tuple(zip(names, numbers, strict=True))  # type: ignore[arg-type]


def of(name: str, *numbers: str) -> tuple[tuple[str, str | None], ...]:
    """One name with several numbers."""
    return tuple((name, number) for number in numbers)
