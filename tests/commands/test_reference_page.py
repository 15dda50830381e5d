"""docs/cli.md says what the commands say."""

from pathlib import Path

from contactsync.commands.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "run: python -m contactsync.commands.reference docs/cli.md"
    )
