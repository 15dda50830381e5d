"""A person with a configuration and two simulated services."""

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from simulated_service import CREDENTIAL, Service, listen

from contactsync.client.state import State
from contactsync.commands import main

ANNA, BODO, CARL = "+491512345671", "+491512345672", "+447911123456"
BOOK = f"name,phone,phone\nAnna,{ANNA},\nBodo,{BODO},{CARL}\nنور حداد,+4915123456788,\n"


@pytest.fixture
def other_service(tmp_path):
    folder = tmp_path / "other-service"
    folder.mkdir()
    service = Service(folder)
    server = listen(service)
    yield service
    server.shutdown()
    server.server_close()


class ConfiguredDesk:
    """Two services, `work` and `club`, a book, a credential for each, and a configuration that names all."""

    def __init__(self, folder: Path, work: Service, club: Service) -> None:
        self.folder, self.work, self.club = folder, work, club
        self.state = folder / "state"
        self.config = folder / "config.toml"
        self.book = folder / "book.csv"
        self.book.write_text(BOOK, encoding="utf-8")
        for name in ("work", "club"):
            path = folder / f"{name}.credential"
            path.write_text(CREDENTIAL)
            path.chmod(0o600)
        self.configure()

    def configure(self, general="", work="", club="", *, more=""):
        self.config.write_text(
            f'region = "DE"\n{general}\n[source.book]\npath = "book.csv"\n'
            f'[server.work]\nurl = "{self.work.url}"\ncredential_file = "work.credential"\n{work}\n'
            f'[server.club]\nurl = "{self.club.url}"\ncredential_file = "club.credential"\n{club}\n{more}',
            encoding="utf-8",
        )

    def trust(self):
        for one in (self.work, self.club):
            State(self.state).pin(one.url, one.repository.root_bytes())

    def environment(self):
        return {"CONTACTSYNC_CONFIG": str(self.config), "CONTACTSYNC_STATE": str(self.state)}

    def run(self, *arguments, **options):
        result = CliRunner().invoke(main, [str(a) for a in arguments], env=self.environment(), **options)
        assert "Traceback" not in result.output
        return result

    def command(self, *arguments):
        return [sys.executable, "-m", "contactsync", *map(str, arguments)], {
            **os.environ,
            **self.environment(),
        }


@pytest.fixture
def configured(tmp_path, service, other_service):
    desk = ConfiguredDesk(tmp_path, service, other_service)
    service.publish(ANNA, CARL)
    other_service.publish(ANNA)
    desk.trust()
    return desk
