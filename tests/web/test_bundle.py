"""What is shipped is what the sources give, in any folder; its hashes stand in the documents."""

import hashlib
import itertools
import json
import re
import runpy
import shutil
import unicodedata

import pytest
from javascript import ROOT, WEB, needs_node, needs_packages, node

PAGE = (
    "page/page.js",
    "page/worker.js",
    "page/page.css",
    "page/index.html",
    "page/icon.svg",
    "page/extension.js",
    "page/shell.js",
)
BUNDLES = ("contactsync.mjs", "contactsync-js.mjs", "contactsync-sodium.mjs", *PAGE)


@needs_packages
@pytest.mark.slow
def test_two_folders_give_the_same_octets_which_are_those_that_are_shipped(tmp_path):
    shutil.copytree(WEB, tmp_path / "a longer folder" / "web")
    node(WEB / "build.mjs", tmp_path / "one")
    node(tmp_path / "a longer folder" / "web" / "build.mjs", tmp_path / "two")
    for name in BUNDLES:
        shipped = (WEB / "bundle" / name).read_bytes()
        assert (tmp_path / "one" / name).read_bytes() == shipped, (
            f"run `node contactsync/web/build.mjs` ({name})"
        )
        assert (tmp_path / "two" / name).read_bytes() == shipped


def test_the_documents_have_the_hashes_of_what_is_shipped():
    page = (ROOT / "docs" / "web.md").read_text()
    for name in BUNDLES:
        sha256 = hashlib.sha256((WEB / "bundle" / name).read_bytes()).hexdigest()
        assert f"{sha256}  {name}" in page


@pytest.mark.parametrize("name", ["contactsync.mjs", "contactsync-sodium.mjs"])
def test_what_is_shipped_asks_nobody_but_the_server(name):
    text = (WEB / "bundle" / name).read_text()
    code = text.partition("/*! Bundled license information")[0]
    code = re.sub(r"/\*!.*?\*/", "", code, flags=re.DOTALL)
    assert set(re.findall(r"https?://[a-z0-9.]+", code)) <= set()
    assert "eval(" not in code
    assert "new Function" not in code


def test_packages_are_pinned_by_version_and_hash_and_name_no_registry():
    package = json.loads((WEB / "package.json").read_bytes())
    locked = json.loads((WEB / "package-lock.json").read_bytes())["packages"]
    assert set(package["dependencies"]) == {
        *("@noble/ciphers", "@noble/curves", "@noble/hashes"),
        *("libphonenumber-js", "libsodium-sumo"),
    }
    assert set(package["devDependencies"]) == {"esbuild"}
    for name, version in (package["dependencies"] | package["devDependencies"]).items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert locked[f"node_modules/{name}"]["version"] == version
    for place, one in locked.items():
        if place:
            assert one["integrity"].startswith("sha512-")
            assert "resolved" not in one


@pytest.fixture(scope="module")
def tables():
    return runpy.run_path(str(ROOT / "release" / "web_tables.py"))


def test_the_tables_are_those_of_the_python_client(tables):
    for name, write in tables["FILES"].items():
        written, here = write(), (WEB / "src" / name).read_text()
        if written.partition("\n")[0] == here.partition("\n")[0] or name != "bidi-table.js":
            assert here == written, "run `.venv/bin/python release/web_tables.py`"


def test_the_classes_of_the_bidi_rule_are_those_of_any_unicode(tables):
    # bidi-table.js names its Unicode. Another Python's has more characters; of those here it says the same.
    text = (WEB / "src" / "bidi-table.js").read_text()
    packed = dict(re.findall(r'^  (\w+): "(.*)",$', text, re.MULTILINE))
    viramas = members(packed.pop("virama"))
    assert len(viramas) > 30
    assert set(map(unicodedata.combining, map(chr, viramas))) == {tables["VIRAMA"]}
    assert set(packed) == {"AL", "AN", "BN", "EN", "ES", "L", "NSM", "ON", "R"}
    for name, ranges in packed.items():
        assert {unicodedata.bidirectional(chr(code)) for code in members(ranges)} == {name}


def members(packed: str) -> list[int]:
    edges = list(itertools.accumulate(int(length, 36) for length in packed.split()))
    return [code for a, b in zip(edges[::2], edges[1::2], strict=True) for code in range(a, b)]


@needs_node
def test_the_bundle_offers_what_its_types_say():
    declared = set(re.findall(r"^export (?:declare )?(?:class|function|const) (\w+)", types(), re.MULTILINE))
    bundle = json.dumps(str(WEB / "bundle" / "contactsync.mjs"))
    script = f"import * as all from {bundle}; console.log(Object.keys(all).join())"
    offered = set(node("--input-type=module", "-e", script).stdout.strip().split(","))
    assert offered == declared


def types() -> str:
    return (WEB / "src" / "index.d.ts").read_text()


@needs_node
def test_errors_have_the_names_of_their_types_also_where_a_bundle_shortens_them():
    bundle = json.dumps(str(WEB / "bundle" / "contactsync.mjs"))
    script = f"""import * as all from {bundle};
        const is = (one) => one === all.ContactSyncError || one.prototype instanceof all.ContactSyncError;
        const errors = Object.entries(all).filter(([, one]) => typeof one === 'function' && is(one));
        console.log(JSON.stringify(errors.map(([name, one]) => [name, new one('why').name])))"""
    named = json.loads(node("--input-type=module", "-e", script).stdout)
    assert len(named) == 7
    assert all(name == said for name, said in named), named
