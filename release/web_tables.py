"""Write the tables of src/ that come from this project's Python: short codes, and the headings of tables.

libphonenumber-js leaves short codes out. Run it after an update of `phonenumberslite` or of headings.toml:
`.venv/bin/python release/web_tables.py`. A test compares what is there with what it would write.
"""

from __future__ import annotations

import json
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneMetadata

from contactsync.contacts.headings import ROLES, sources

SOURCES = Path(__file__).parents[1] / "contactsync" / "web" / "src"


def short_codes() -> str:
    """short.js: by region, the patterns of short codes and of emergency numbers."""
    found = {}
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        data = PhoneMetadata.short_metadata_for_region(region)
        if data is not None:
            patterns = (data.short_code, data.emergency)
            found[region] = [(one and one.national_number_pattern) or "" for one in patterns]
    about = (
        "Short codes and emergency numbers by region, from libphonenumber's ShortNumberMetadata (Apache-2.0)."
    )
    return _module(about, found)


def headings() -> str:
    """headings.js: the headings of each role. Where programs differ, the first table of the list decides."""
    role_of: dict[str, str] = {}
    for table in sources().values():
        for role in ROLES:
            for heading in table.get(role, ()):
                role_of.setdefault(heading, role)
    by_role = {role: [one for one, of in role_of.items() if of == role] for role in ROLES}
    return _module(
        "What columns of tables hold, by their headings: contactsync/contacts/headings.toml.", by_role
    )


def _module(about: str, value: dict[str, list[str]]) -> str:
    lines = ",\n".join(f"  {name}: {json.dumps(one, ensure_ascii=False)}" for name, one in value.items())
    return f"// {about}\n// Written by release/web_tables.py.\nexport default {{\n{lines},\n}};\n"


FILES = {"short.js": short_codes, "headings.js": headings}

if __name__ == "__main__":
    for name, write in FILES.items():
        (SOURCES / name).write_text(write(), encoding="utf-8")
