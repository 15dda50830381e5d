"""Basic, Digest and Bearer, against the examples of RFC 7616 and 7617, and where a password comes from."""

import base64
import os

import keyring
import keyring.backend
import keyring.errors
import pytest
from simulated_carddav import DavReply, multistatus, response

from contactsync.carddav import passwords
from contactsync.carddav.authentication import Authenticator, digest, parse_challenges
from contactsync.foundation.errors import BadInput, Refused

EXAMPLE = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_rfc_7616(algorithm, expected):
    (challenge,) = parse_challenges([EXAMPLE.replace("SHA-256", algorithm)])
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    value = digest(
        challenge.parameters,
        "Mufasa",
        "Circle of Life",
        "GET",
        "/dir/index.html",
        b"",
        count=1,
        cnonce=cnonce,
    )
    assert f'response="{expected}"' in value
    assert f'cnonce="{cnonce}", qop=auth' in value
    assert "nc=00000001" in value


def test_digest_without_qop_as_rfc_2617_had_it():
    parameters = {"realm": "testrealm@host.com", "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093"}
    value = digest(parameters, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", b"", count=1)
    assert 'response="670fd8c2df070c60b045671b8b24ff02"' in value
    assert "qop" not in value


def test_a_user_name_is_hashed_if_the_server_wants_it():
    parameters = {
        "realm": "api@example.org",
        "nonce": "n",
        "qop": "auth",
        "userhash": "true",
        "algorithm": "SHA-256",
    }
    value = digest(parameters, "Jäsøn Doe", "x", "GET", "/", b"", count=1)
    assert "userhash=true" in value
    assert "J" not in value.partition('username="')[2].partition('"')[0]
    del parameters["userhash"]
    assert "username*=UTF-8''J%C3%A4s%C3%B8n%20Doe" in digest(
        parameters, "Jäsøn Doe", "x", "GET", "/", b"", count=1
    )


def test_quotation_marks_cannot_end_a_field():
    value = digest({"realm": 'a"b\\', "nonce": "n"}, 'x", uri="/evil', "p", "GET", "/", b"", count=1)
    assert value.count('uri="') == 1 or 'x\\", uri=\\"/evil' in value


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (['Basic realm="a, b=\\"c\\"", charset="U"'], [("basic", {"realm": 'a, b="c"', "charset": "U"})]),
        (
            ['Basic realm="a", Digest nonce="b", qop="auth"'],
            [("basic", {"realm": "a"}), ("digest", {"nonce": "b", "qop": "auth"})],
        ),
        (["Negotiate", "Bearer"], [("negotiate", {}), ("bearer", {})]),
        (["Negotiate abc==, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (["BASIC REALM=x"], [("basic", {"realm": "x"})]),
        (['Bearer error="x" , scope="no"'], [("bearer", {"error": "x", "scope": "no"})]),
        (["", ",,,", '"', "=", 'Basic realm="never closed'], [("basic", {})]),
    ],
)  # fmt: skip
def test_challenges(fields, expected):
    assert [(one.scheme, one.parameters) for one in parse_challenges(fields)] == expected


def test_a_hostile_challenge_takes_no_time():
    for text in ('a="\\' * 8000, "a " * 16000, "a=b," * 8000, "," * 32000, 'Digest a="' + "\\x" * 16000):
        parse_challenges([text])


def authenticator(scheme="auto", user="ada"):
    return Authenticator(user, lambda: "s3cret", scheme, "ada@dav.example")


def test_the_strongest_is_chosen():
    offered = [
        'Basic realm="x"',
        'Digest realm="x", nonce="1", qop="auth"',
        EXAMPLE,
        'Digest nonce="1", algorithm=SHA-999',
    ]
    one = authenticator()
    one.challenged(offered)
    assert "algorithm=SHA-256" in one.header("GET", "/", b"")
    one = authenticator("basic")
    one.challenged(offered)
    assert one.header("GET", "/", b"") == "Basic " + base64.b64encode(b"ada:s3cret").decode()


@pytest.mark.parametrize(
    ("scheme", "offered", "error", "hint"),
    [
        ("digest", ["Basic realm=x"], Refused, "--auth"),
        ("basic", ["Bearer"], Refused, "--auth bearer"),
        ("auto", ["Bearer"], Refused, "--auth bearer"),
        ("bearer", ["Basic realm=x"], BadInput, "password"),
        ("auto", [], Refused, "operator"),
        ("auto", ['Digest nonce="1", algorithm=SHA-999'], Refused, "operator"),
    ],
)
def test_what_cannot_be_answered_says_what_to_do(scheme, offered, error, hint):
    with pytest.raises(error) as caught:
        authenticator(scheme).challenged(offered)
    assert hint in caught.value.hint


def test_a_token(dav, fetch):
    dav.before = lambda request: (
        multistatus(response("/dav/", "<resourcetype><C:addressbook/><collection/></resourcetype>"))
        if request.headers.get("authorization") == "Bearer s3cret"
        else DavReply(401, b"", {"WWW-Authenticate": "Bearer"})
    )
    assert len(fetch(dav.address + "/dav/", scheme="bearer").books) == 1


def test_a_counter_goes_up_with_each_request():
    one = authenticator()
    one.challenged([EXAMPLE])
    counts = [one.header("GET", "/", b"").partition("nc=")[2][:8] for _ in range(3)]
    assert counts == ["00000001", "00000002", "00000003"]
    one.challenged([EXAMPLE.replace("7ypf", "8ypf") + ", stale=true"])
    assert "nc=00000001" in one.header("GET", "/", b"")


def test_a_password_file(tmp_path):
    path = tmp_path / "password"
    path.write_bytes(b"\xef\xbb\xbfs3 cret \r\nuser: ada\n")
    path.chmod(0o600)
    assert passwords.from_file(path) == "s3 cret "
    for mode in (0o640, 0o604, 0o644):
        path.chmod(mode)
        with pytest.raises(BadInput, match="other users") as caught:
            passwords.from_file(path)
        assert "chmod 600" in caught.value.hint
    path.chmod(0o600)
    for data in (b"", b"\nx", b"\xff\n", b"a\0b", b"x" * 20_000):
        path.write_bytes(data)
        with pytest.raises(BadInput):
            passwords.from_file(path)
    with pytest.raises(BadInput, match="No such file"):
        passwords.from_file(tmp_path / "none")
    reader, writer = os.pipe()  # as a shell's <(…) is
    os.write(writer, b"s3cret\n")
    os.close(writer)
    assert passwords.from_file(type(path)(f"/dev/fd/{reader}")) == "s3cret"
    os.close(reader)


def test_a_password_command():
    assert passwords.from_command("printf 's3cret\\nurl: x\\n'") == "s3cret"
    with pytest.raises(BadInput, match="does not begin"):
        passwords.from_command("cat")  # it gets nothing of what is piped to contactsync
    assert passwords.from_command("echo '$HOME; id'") == "$HOME; id"  # no shell
    for command, reason in (
        ("false", "exit code 1"),
        ("/nowhere/at/all", "No such file"),
        ("true", "does not begin with a password"),
        ("echo 'x", "quotation mark"),
        ("", "empty"),
    ):
        with pytest.raises(BadInput, match=reason):
            passwords.from_command(command)
    with pytest.raises(BadInput, match="did not end") as caught:
        passwords.from_command("sh -c 'sleep 20' s3cret", seconds=0.05)
    assert "s3cret" not in str(caught.value)


class Ring(keyring.backend.KeyringBackend):
    priority = 1

    def __init__(self, held):
        self.held = held

    def get_password(self, service, username):
        if self.held is None:
            raise keyring.errors.KeyringLocked("locked")
        return self.held.get((service, username))

    def set_password(self, service, username, password): ...

    def delete_password(self, service, username): ...


def test_the_keyring(monkeypatch, tmp_path):
    before = keyring.get_keyring()
    try:
        keyring.set_keyring(Ring({("contactsync", "ada@dav.example"): "s3cret"}))
        assert passwords.password_of("ada@dav.example") == "s3cret"
        path = tmp_path / "password"
        path.touch(0o600)
        path.write_text("of the file")
        assert passwords.password_of("ada@dav.example", file=path) == "of the file"
        assert (
            passwords.password_of("eve@dav.example", ask=lambda account: f"asked {account}")
            == "asked eve@dav.example"
        )
        keyring.set_keyring(Ring(None))
        with pytest.raises(BadInput, match="no password for") as caught:
            passwords.password_of("eve@dav.example")
        assert "keyring set contactsync eve@dav.example" in caught.value.hint
    finally:
        keyring.set_keyring(before)


def test_without_keyring(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)
    assert passwords.from_keyring("ada@dav.example") is None
