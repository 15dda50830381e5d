"""Checks what a command prints with --json against docs/json-schema.json, and that nothing else is in it."""

import copy
import json
from pathlib import Path

import jsonschema

from contactsync.commands import _json

SCHEMA = json.loads((Path(__file__).resolve().parents[1] / "docs" / "json-schema.json").read_text())


def closed(schema):
    """The same, but no member may be there that it does not name. (Readers must bear such.)"""
    if isinstance(schema, dict):
        schema = {key: closed(value) for key, value in schema.items()}
        if "properties" in schema and isinstance(schema["properties"], dict):
            schema.setdefault("additionalProperties", False)
        return schema
    return [closed(one) for one in schema] if isinstance(schema, list) else schema


STRICT = closed(copy.deepcopy(SCHEMA))


def check(name, text):
    value = json.loads(text)
    schema = {"$ref": f"#/$defs/{name}", "$defs": STRICT["$defs"]}
    # Not `validate`, which would check the whole schema every time.
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)
    for one in value if isinstance(value, list) else [value]:
        assert one["version"] == _json.VERSION
    return value
