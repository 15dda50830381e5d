"""docs/library.md: its programs are run, in their order, against a real server process."""

import re
from pathlib import Path

import pytest
from server_tools import Process

import contactsync

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()
BLOCKS = re.findall(r"(<!-- served -->\n)?```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_programs_of_the_page_do_what_they_say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contacts.csv").write_text(
        "name,phone\nAnn,0151 12345678\nBob,0151 00000500\nEve,0176 1234567\n"
    )
    (tmp_path / "users.csv").write_text("id,phone\n1,0151 12346001\n2,0151 12346002\n")
    names, process, port = {}, None, "8440"
    assert len(BLOCKS) == 13
    try:
        for served, block in BLOCKS:
            if served:
                process = Process(tmp_path / "data")
                port = str(process.port)
            exec(compile(block.replace("8440", port), "docs/library.md", "exec"), names)
    finally:
        if process is not None:
            process.__exit__()
    said = capsys.readouterr().out
    assert "people 1 992" in said
    assert "Ann tel:+4915112345678" in said
    assert "Eve" not in said
    assert "credential" in said.splitlines()[-1]


def test_the_page_names_every_public_name():
    imported = set(re.findall(r"\w+", BLOCKS[0][1])) - {"from", "import", "contactsync"}
    assert imported <= set(contactsync.__all__)
    for name in set(contactsync.__all__) - {"__version__"} - imported:
        assert f"`{name}`" in PAGE, name


def test_every_method_of_the_server_is_in_the_table():
    from contactsync import Client, Server
    from contactsync.library.accounts import Accounts
    from contactsync.library.keys import RoleKeys
    from contactsync.library.members import MemberRegister

    for one in (Server, Client, Accounts, MemberRegister, RoleKeys):
        for name in vars(one):
            assert name.startswith("_") or re.search(rf"\b{name}\b", PAGE), name
