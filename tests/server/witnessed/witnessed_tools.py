"""A client of a logged publication, and an operator who forks it."""

import shutil

from server_tools import FolderFetcher, Operator
from tuf.api.exceptions import DownloadHTTPError

from contactsync.publication.tuf.follower import Follower
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.settings import DataFolder
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.server.witnessed.changing import LogChanges
from contactsync.server.witnessed.keeper import LogKeeper


class Client:
    """Follows a folder as clients do. `tamper(name, octets)` gives other octets, or None: not there."""

    def __init__(self, state, operator, version=1):
        self.state = state
        self.public = operator.folder.public
        self.root = (self.public / "metadata" / f"{version}.root.json").read_bytes()
        self.tamper = lambda _name, octets: octets
        self.asked = []

    def follow(self, audience="people"):
        return Follower(self.state, "http://x", Fetcher(self), self.root).manifest(audience)

    def of_log(self):
        return [name.removeprefix("log/") for name in self.asked if name.startswith("log/")]


class Fetcher(FolderFetcher):
    def __init__(self, client):
        super().__init__(client.public)
        self.client = client

    def _fetch(self, url):
        name = url.partition("/v1/")[2].removeprefix("tuf/")
        self.client.asked.append(name)
        path = self.public / name
        octets = self.client.tamper(name, path.read_bytes() if path.is_file() else None)
        if octets is None:
            raise DownloadHTTPError("not found", 404)
        yield octets


def changes(operator):
    return LogChanges(operator.folder, operator.keyring)


def opened(path):
    """An operator of a data folder that is there."""
    operator = Operator.__new__(Operator)
    operator.folder = DataFolder.existing(path)
    operator.keyring = Keyring.open(operator.folder.keys, None)
    operator.registry = SqliteMembers(operator.folder.registry)
    operator.accounts = SqliteAccounts(operator.folder.accounts)
    operator.log = LogKeeper(operator.folder, operator.keyring)
    operator.repository = Repository(operator.folder.public, operator.log)
    return operator


def fork(operator, path):
    """The same operator, with a copy of everything, from here on."""
    shutil.copytree(operator.folder.path, path)
    return opened(path)
