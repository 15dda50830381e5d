"""A publication of a real server in a folder, and an operator who can sign what they like."""

import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from forger import Forger
from simulated_service import hurry, other_person, person, service

sys.path.append(str(Path(__file__).parents[1] / "server"))

from server_tools import AMERICAN, GERMAN, Operator

from contactsync.directory import bounds, build, open_directory
from contactsync.directory.screen import build_screen
from contactsync.tokens import Tokens

__all__ = ["hurry", "other_person", "person", "service"]

CROWD = 1500


class Crook(Operator):
    """An operator who publishes what no builder would."""

    def sign(self, audience="people", **changed):
        """Sign the next manifest, in which this is changed."""
        last = self.manifest(audience)
        manifest = replace(last, edition=last.edition + 1, previous=last.sha256(), **changed)
        repository = Forger(self.folder.public)
        repository.keep([last])
        repository.publish([manifest], self.keyring.signers(), datetime.now(UTC))
        return manifest

    def put(self, made, path):
        """Give a file the name that a manifest would have for it."""
        path.rename(self.folder.data / made.sha256)
        return made

    def tokens_of(self, name):
        """All tokens of a partition of people, in epoch 1."""
        tokens = Tokens.concatenate(list(self.registry.tokens("people", 1, name)))
        assert len(tokens) == self.manifest().partitions[name].count
        return tokens

    def base_of(self, tokens, folder, **more):
        """What a manifest says of a base of these tokens, which is put in its place; without deltas."""
        info = build(folder / "new", [tokens])
        with open_directory(folder / "new", expect=info) as directory:
            screen = build_screen(folder / "screen", directory) if info.count >= 1000 else None
        if screen is not None:
            self.put(screen, folder / "screen")
        base = self.put(info.file, folder / "new")
        figures = {"count": info.count, "slot_bits": info.slot_bits, "top_sha256": info.top_sha256}
        return {**figures, "base": base, "screen": screen, "deltas": (), **more}

    def sign_partition(self, name, **changed):
        """The same, with one partition changed."""
        partitions = dict(self.manifest().partitions)
        edition = self.manifest().edition + 1
        partitions[name] = replace(partitions[name], **{"edition": edition, **changed})
        return self.sign(partitions=partitions)


@pytest.fixture(scope="session")
def honest(tmp_path_factory):
    """The data folder of a server with two editions, deltas and a screen."""
    before, bounds.LEAST_SCREENED = bounds.LEAST_SCREENED, 1000
    operator = Crook(tmp_path_factory.mktemp("honest") / "server")
    try:
        operator.add(*range(GERMAN, GERMAN + CROWD), *range(AMERICAN, AMERICAN + 90))
        operator.publish()
        operator.add(GERMAN + CROWD, AMERICAN + 90)
        operator.publish()
    finally:
        bounds.LEAST_SCREENED = before
        operator.close()
    return operator.folder.path


@pytest.fixture
def new_crook(tmp_path):
    """One with an empty data folder."""
    operator = Crook(tmp_path / "server")
    yield operator
    operator.close()


@pytest.fixture
def crook(honest, tmp_path, monkeypatch):
    """An operator with a copy of it."""
    monkeypatch.setattr(bounds, "LEAST_SCREENED", 1000)
    path = tmp_path / "server"
    shutil.copytree(honest, path)
    operator = Crook.__new__(Crook)
    _open(operator, path)
    yield operator
    operator.close()


def _open(operator, path):
    from contactsync.publication.tuf.repository import Repository
    from contactsync.server.keyring import Keyring
    from contactsync.server.settings import DataFolder
    from contactsync.server.storage.opening import open_accounts, open_members

    operator.folder = DataFolder.existing(path)
    operator.keyring = Keyring.open(operator.folder.keys, None)
    operator.registry = open_members(operator.folder)
    operator.accounts = open_accounts(operator.folder)
    operator.repository = Repository(operator.folder.public)
