"""No parser is without a target: what takes octets or text apart is found in the sources, and must run.

Found are functions that call what decodes (`json.loads`, `struct.unpack`, `int.from_bytes`, `urlsplit` …) and public
ones that are named like a reader. Each must be reached when the targets run what they keep, or be in `APART` with
the reason why nothing foreign reaches it.
"""

import ast
import functools
import sys
from pathlib import Path

import pytest

import contactsync
from fuzz import corpus
from fuzz.table import TARGETS
from fuzz.target import warm_up

PACKAGE = Path(contactsync.__file__).parent

DECODERS = {
    *(
        "loads",
        "unpack",
        "unpack_from",
        "frombuffer",
        "from_bytes",
        "fromhex",
        "b64decode",
        "urlsplit",
        "parse_url",
        "parse_qsl",
    ),
    *(
        "from_dict",
        "ParserCreate",
        "ZipFile",
        "GzipFile",
        "deserialize",
        "fromisoformat",
        "strptime",
        "parsedate_to_datetime",
    ),
}
READERS = ("parse_", "read_", "from_json", "from_bytes", "from_fields")

OURS = "its argument is made by this program"
ARITHMETIC = "encodings of fixed length: the twin and the vectors are compared with it"
DATABASE = "rows of the operator's own database, or its pages"
SHIPPED = "a file of the package"
TOGETHER = "only passes on to parsers that have targets"
PROBED = "tests/audit/probe/test_probe_attacks.py gives it replies of every kind"
MUTATED = "tests/audit/transcript/test_mutated_transcripts.py gives it transcripts with single changes"
CLICK = "what click calls; options have a target"
CLUSTER = (
    "sealed, or the operator's own: tests/server/publishing/test_cluster_access.py gives it what is wrong"
)
OWN_FILE = "a manifest that was verified before it was kept; tests/test_mail_discovery.py damages it"
MIRRORED = "what `server mirror` wrote for itself; tests/mirror damages it"
APART = {  # a file, or file::function
    "audit/comparison.py": TOGETHER,
    "audit/probe/freshness.py": PROBED,
    "audit/probe/probed.py": PROBED,
    "audit/probe/wire.py": PROBED,
    "audit/snapshots.py::view_of": TOGETHER,
    "audit/transcript/buckets.py::_tokens": MUTATED,
    "audit/transcript/chance.py": MUTATED,
    "audit/transcript/given.py::read_given": TOGETHER,
    "audit/transcript/learned.py": MUTATED,
    "audit/transcript/points.py": MUTATED,
    "audit/transcript/proofs.py": MUTATED,
    "audit/vectors/checking.py": SHIPPED,
    "audit/vectors/formats.py": SHIPPED,
    "audit/vectors/labelled.py": SHIPPED,
    "audit/vectors/logged.py": SHIPPED,
    "audit/vectors/octets.py": SHIPPED,
    "audit/vectors/primitives.py": SHIPPED,
    "audit/vectors/runs.py": SHIPPED,
    "audit/vectors/serving.py": SHIPPED,
    "audit/vectors/trust.py": SHIPPED,
    "audit/publication.py": TOGETHER,
    "audit/rebuild.py": TOGETHER,
    "client/core/row_lookups.py::_in_turn": OURS,
    "client/remembered.py::kinds_seen": OWN_FILE,
    "client/second.py::_before": TOGETHER,
    "client/second.py::_octets": TOGETHER,
    "client/state.py::_add_to_record": TOGETHER,
    "client/trust.py::find_root": TOGETHER,
    "client/trust.py::leads_to": TOGETHER,
    "client/trust.py::seen_manifests": TOGETHER,
    "commands/__init__.py::parse_args": CLICK,
    "commands/_watching.py::parse_args": CLICK,
    "commands/status.py::_show": OURS,
    "contacts/headings.py::sources": SHIPPED,
    "directory/delta.py::write_delta_of": OURS,
    "directory/patching.py::next_patch": OURS,
    "directory/sidecar_build.py": OURS,
    "directory/sidecar_delta.py::write_differences": OURS,
    "labels.py::_by_kernel": OURS,
    "directory/screen.py::_positions": OURS,
    "foundation/expand.py::expand_message_xmd": OURS,
    "kernels/policy.py::load_overload": "the cache of compiled kernels: tests/kernels/test_cache_trust.py",
    "foundation/route.py::proxy_kind": OURS,
    "library/second.py::meet_second": TOGETHER,
    "lookup/batch.py": OURS,
    "lookup/dpf.py::generate": OURS,
    "mirror/folder.py::_object": MIRRORED,
    "mirror/folder.py::kept": MIRRORED,
    "mirror/following.py::history": TOGETHER,
    "publication/log/tiles.py::read_new": OURS,
    "publication/logged.py::begin_anew": TOGETHER,
    "publication/rows.py::root": "a SHA-256 of a file, which was checked",
    "publication/tuf/follower.py::served_files": "metadata that was verified before it was kept",
    "publication/tuf/recording.py": "what `publish` wrote for itself",
    "server/witnessed/finishing.py": "what `publish` wrote for itself",
    "server/witnessed/keeper.py": "the operator's own log",
    "server/witnessed/witnesses.py": "what `server log` wrote for itself",
    "library/warming.py::_use_directories": OURS,
    "library/worker.py::_work": OURS,
    "publication/tuf/repository.py": TOGETHER,
    "publication/tuf/signed.py::copy_of": OURS,
    "ristretto255/engine.py": ARITHMETIC,
    "ristretto255/hashing.py": ARITHMETIC,
    "ristretto255/scalars.py": ARITHMETIC,
    "ristretto255/start.py": ARITHMETIC,
    "server/admin/app.py::_status": OURS,
    "server/admin/app.py::read": OURS,
    "server/admin/idempotency.py::open": "what it sealed itself",
    "server/admin/writer.py::editions_of": DATABASE,
    "server/backups/restoring.py::restore": TOGETHER,
    "server/http/attached.py::read_orders": "between processes of one server",
    "server/http/supervisor.py::read": "between processes of one server",
    "server/members.py::read_members": TOGETHER,
    "server/objects/lease.py::take": TOGETHER,
    "server/objects/record.py::read": "what `publish` wrote for itself",
    "server/probe.py::__init__": OURS,
    "server/publishing/remote/cluster.py::of": CLUSTER,
    "server/publishing/remote/errand.py::open_job": CLUSTER,
    "server/publishing/remote/errand.py::open_result": CLUSTER,
    "server/publishing/remote/worker_key.py::read": CLUSTER,
    "server/publishing/amending.py": "between processes of one publish",
    "server/publishing/amending_labels.py::amended_labels": "between processes of one publish",
    "server/publishing/job.py": "between processes of one publish",
    "server/publishing/reading.py::take": OURS,
    "server/storage/labelling.py": DATABASE,
    "server/storage/departed.py": DATABASE,
    "server/storage/token_log.py": DATABASE,
    "server/storage/opening.py::read_address": TOGETHER,
    "server/storage/postgres/creating.py::create_stores_in": TOGETHER,
    "server/storage/postgres/moving.py": DATABASE,
    "server/storage/postgres/registry.py": DATABASE,
    "server/storage/postgres/rows.py": DATABASE,
    "server/storage/register.py": DATABASE,
    "server/storage/sqlite/bulk.py": DATABASE,
    "server/storage/sqlite/erasing.py": DATABASE,
    "server/storage/sqlite/moving.py": DATABASE,
    "serving/bodies.py::read_body": "joins octets as they come: tests/serving/test_bodies.py",
    "tokens.py::from_outputs": OURS,
    "voprf/few/blind.py": ARITHMETIC,
    "voprf/few/field.py": ARITHMETIC,
    "voprf/few/group.py": ARITHMETIC,
    "voprf/proof.py": ARITHMETIC,
    "voprf/server.py": ARITHMETIC,
    "voprf/suite.py": ARITHMETIC,
}


AT_MOST = 30
"""Inputs of a target: what reaches a parser at all is among the first."""


@functools.cache
def parsers():
    """Every function that takes something apart: its file, its name, its first line."""
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                calls = {
                    getattr(call.func, "attr", getattr(call.func, "id", ""))
                    for call in ast.walk(node)
                    if isinstance(call, ast.Call)
                }
                if calls & DECODERS or node.name.startswith(READERS):
                    found.add((name, node.name))
    return found


def apart(file, function):
    return APART.get(f"{file}::{function}") or APART.get(file)


def reached():
    """Every function of the package that runs when each target gets what is kept for it."""
    found = set()
    prefix = f"{PACKAGE}/"

    def called(frame, event, _argument):
        if event == "call" and frame.f_code.co_filename.startswith(prefix):
            found.add((frame.f_code.co_filename.removeprefix(prefix), frame.f_code.co_name))

    for target in TARGETS:
        kept = corpus.seeds_of(target)
        sys.setprofile(called)
        try:
            warm_up(target, kept[:AT_MOST])
        finally:
            sys.setprofile(None)
    return found


@pytest.mark.slow
def test_every_parser_is_reached_by_a_target():
    missing = {f"{file}::{function}" for file, function in parsers() - reached() if not apart(file, function)}
    assert not missing, (
        f"write a target for these, or say in APART why nothing foreign reaches them: {sorted(missing)}"
    )


def test_what_stands_apart_is_there_and_has_a_reason():
    found = parsers()
    files, functions = {file for file, _ in found}, {f"{file}::{function}" for file, function in found}
    assert set(APART) <= files | functions, "no longer a parser"
    assert all(APART.values())


def test_a_new_parser_is_found():
    assert ("contacts/jcard.py", "read_jcards") in parsers()
    assert ("publication/canonical.py", "decode") in parsers()
