"""The vector files are what the generator writes, and their words are those of docs/vectors.md and schema."""

import json
import re

import make
import pytest

PAGE = (make.ROOT / "docs" / "vectors.md").read_text()
SCHEMA = json.loads((make.FOLDER / "schema.json").read_bytes())
DOCUMENTS = {
    path.name: json.loads(path.read_bytes())
    for path in sorted(make.FOLDER.glob("*.json"))
    if path.name != "schema.json"
}
CASES = [case for document in DOCUMENTS.values() for group in document["groups"] for case in group["cases"]]


def words() -> set[str]:
    section = PAGE.partition("## Refusals")[2].partition("## Operations")[0]
    return set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE))


CROWDED = {*make.FILES} - {"edges.json", "refusals.json", "directory.json", "delta.json"}
"""Of 131,072 tokens, or of many signatures, by twins in plain Python."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in CROWDED)) for name in make.FILES]
)
def test_our_own_files_are_what_the_generator_writes(name) -> None:
    assert (make.FOLDER / name).read_text() == make.text(name)


def test_sums_are_those_of_the_files() -> None:
    assert (make.FOLDER / "SHA256SUMS").read_text() == make.sums()


def test_every_refusal_is_in_the_document_in_the_schema_and_in_some_case() -> None:
    expected = [case["expected"] for case in CASES]
    used = {e["refusal"] for e in expected if e.get("refusal") is not None}
    assert used == set(SCHEMA["$defs"]["refusal"]["enum"])
    unusable = {word for e in expected for word in e.get("unusable", {}).values()}
    assert words() == used | unusable


def test_files_groups_and_operations_are_all_described() -> None:
    for name in DOCUMENTS:
        assert f"`{name}`" in PAGE
    operations = {group["operation"] for document in DOCUMENTS.values() for group in document["groups"]}
    branches = SCHEMA["$defs"]["group"]["allOf"]
    described = {branch["if"]["properties"]["operation"]["const"]: branch["then"] for branch in branches}
    assert operations == set(described)
    assert all(branch.get("description") for branch in described.values())
    for operation in operations:
        assert f"`{operation}`" in PAGE, operation


def test_every_field_of_the_new_operations_is_in_the_document() -> None:
    branches = SCHEMA["$defs"]["group"]["allOf"]
    for branch in branches:
        if branch["if"]["properties"]["operation"]["const"] not in {"read_delta", "read_manifest"}:
            fields = branch["then"]["properties"]["cases"]["items"]["properties"]
            for field in named(fields["given"]) | named(fields["expected"]):
                assert f"`{field}`" in PAGE, field


def named(schema) -> set[str]:
    """The members of an object, or of each of several forms of it."""
    if "oneOf" in schema:
        return set().union(*(named(form) for form in schema["oneOf"]))
    return set(schema.get("properties", {}))


def test_every_refusing_group_accepts_something_too() -> None:
    for document in DOCUMENTS.values():
        for group in document["groups"]:
            refusals = [
                case["expected"].get("refusal") for case in group["cases"] if "refusal" in case["expected"]
            ]
            if any(refusals):
                assert None in refusals, group["name"]


def test_several_hundred_values_with_hits_and_misses() -> None:
    """What let a wrong reader pass: three values, and nothing but hits."""
    for q, r, least in ((12, 32, 500), (12, 40, 500), (14, 32, 500)):
        groups = DOCUMENTS["directory.json"]["groups"]
        asked = [
            (token, found)
            for group in groups
            if group["operation"] == "match_directory"
            for case in group["cases"]
            if (case["given"]["info"]["slot_bits"], case["given"]["info"]["remainder_bits"]) == (q, r)
            and case["given"]["info"]["count"] >= least
            for token, found in zip(case["given"]["tokens"], case["expected"]["found"], strict=True)
        ]
        hits = {int(token, 16) >> (80 - q) for token, found in asked if found}
        misses = {int(token, 16) >> (80 - q) for token, found in asked if not found}
        assert len(hits) > 20
        assert len(misses) > 20
        assert len(hits & misses) > 20  # misses that share the slot of a hit
        assert {slot >> 12 for slot in misses} & {slot >> 12 for slot in hits}
