"""A server's page is compared with a release by curl and sha256sum, as docs/web.md says."""

import hashlib
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
sys.path.insert(0, str(Path(__file__).parents[1] / "web"))

from next_release import next_release
from server_tools import GERMAN, Operator, Process

from contactsync.server.page import page_files

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "contactsync" / "web" / "bundle"
NEXT = (str(ROOT / "tests" / "web" / "next_release.py"),)


def write_lists(bundle, out):
    runpy.run_path(str(ROOT / "release" / "build.py"))["_list_hashes"](bundle, out)
    names = sorted(path.name for path in out.iterdir())
    sums = (f"{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (out / "SHA256SUMS").write_text("".join(sums))  # as `make dist` does, which is longer


def test_the_list_has_the_files_that_a_server_serves(tmp_path):
    write_lists(BUNDLE, tmp_path)
    lines = (tmp_path / "contactsync-web.sha256").read_text().splitlines()
    served = {path: hashlib.sha256(content).hexdigest() for path, content in page_files().items()}
    assert {line[66:]: line[:64] for line in lines} == served


def test_a_service_worker_of_other_files_is_not_released(tmp_path):
    shutil.copytree(BUNDLE, tmp_path / "bundle")
    with (tmp_path / "bundle" / "page" / "page.css").open("a") as file:
        file.write(" ")
    with pytest.raises(KeyError):
        write_lists(tmp_path / "bundle", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_of_the_document_tell_this_page_from_another(tmp_path):
    document = (ROOT / "docs" / "web.md").read_text()
    (script,) = re.findall(r"```sh\n(sha256sum --check.*?)```", document, re.DOTALL)
    operator = Operator(tmp_path / "server")
    operator.add(GERMAN)
    operator.publish()
    operator.close()

    def compared(url, name):
        folder = tmp_path / name
        folder.mkdir()
        write_lists(BUNDLE, folder)
        return subprocess.run(
            ["sh", "-c", script.replace("https://contacts.example", url)],
            cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    with Process(operator.folder.path, "--web") as process:
        done = compared(process.url, "this")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()[2:]) == sorted(f"{path}: OK" for path in page_files())
    with Process(operator.folder.path, "--web", program=NEXT) as process:
        done = compared(process.url, "another")
    assert done.returncode != 0
    differ = {path for path, content in next_release().items() if content != page_files()[path]}
    assert {line.partition(":")[0] for line in done.stdout.splitlines() if "FAILED" in line} == differ
