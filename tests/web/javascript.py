"""The JavaScript client as a process of Node, and a server to ask."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "contactsync" / "web"
CLI = WEB / "bundle" / "contactsync-js.mjs"
CREDENTIAL = "cs_javascript"


def has_node() -> bool:
    if shutil.which("node") is None:
        return False
    found = subprocess.run(
        ["node", "-p", "process.versions.node"], capture_output=True, text=True, check=False
    )
    return found.returncode == 0 and int(found.stdout.split(".")[0]) >= 20


needs_node = pytest.mark.skipif(not has_node(), reason="needs Node 20")
needs_packages = pytest.mark.skipif(
    not has_node()
    or not (WEB / "node_modules").is_dir()
    or not (ROOT / "tests/vectors/node/node_modules").is_dir(),
    reason="needs Node 20, and `npm ci --ignore-scripts` in contactsync/web and in tests/vectors/node",
)


def node(*arguments, given=None, code=0, timeout=300):
    done = subprocess.run(
        ["node", *map(str, arguments)],
        capture_output=True,
        text=True,
        input=given,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


class Person:
    """Somebody with a state folder, who runs `contactsync-js sync` against one server."""

    def __init__(self, folder: Path, url: str, root: bytes, credential: str = CREDENTIAL) -> None:
        folder.mkdir(exist_ok=True)
        self.program = CLI
        self.folder, self.url = folder, url
        self.state = folder / "state"
        self.root = folder / "root.json"
        self.root.write_bytes(root)
        self.credential = folder / "credential"
        self.credential.write_text(credential + "\n")

    def book(self, *numbers: str) -> Path:
        path = self.folder / "book.vcf"
        cards = (f"BEGIN:VCARD\nVERSION:3.0\nFN:{one}\nTEL:{one}\nEND:VCARD\n" for one in numbers)
        path.write_text("".join(cards))
        return path

    def run(self, *numbers: str, more=(), code=0):
        return self.run_book(self.book(*numbers), *more, code=code)

    def run_book(self, book: Path, *more: str, code=0):
        return node(
            self.program, "sync", book, "--url", self.url, "--credential-file", self.credential,
            "--root", self.root, "--state", self.state, "--region", "DE", *more, code=code,
        )  # fmt: skip

    def sync(self, *numbers: str, more=(), code=0):
        """The object of --json: the result, or with another exit code the error."""
        done = self.run(*numbers, more=("--json", *more), code=code)
        value = json.loads(done.stdout)
        assert value["version"] == 1
        return value["error"] if code else value

    def kept(self) -> dict[str, bytes]:
        (folder,) = self.state.iterdir()
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def found(result) -> list[str]:
    return [one["identifier"].removeprefix("tel:") for one in result["matches"]]
