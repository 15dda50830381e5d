"""Real CardDAV servers on loopback: Radicale and Xandikos (PyPI), SabreDAV 1.8 (Debian: php-sabre-dav).

They differ in what they can do: Radicale wants Basic and reports changes; Xandikos wants nobody's name and
reports changes; SabreDAV wants Digest and reports none, so everything is listed each time.
"""

import contextlib
import hashlib
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from ports import free_port
from requests.auth import HTTPDigestAuth

SABRE = Path("/usr/share/php/Sabre/autoload.php")
USER, PASSWORD = "ada", 'se"cr\\et: ü'


@dataclass
class RealServer:
    name: str
    origin: str
    user: str
    book: str
    auth: object
    process: subprocess.Popen
    reports_changes: bool

    @property
    def address(self):
        user = f"{self.user}@" if self.user else ""
        return self.origin.replace("://", f"://{user}")

    def request(self, method, path, **options):
        reply = requests.request(method, self.origin + path, auth=self.auth, timeout=20, **options)
        reply.raise_for_status()
        return reply

    def put(self, name, text, book=None):
        path = (book or self.book) + name
        headers = {"Content-Type": "text/vcard; charset=utf-8"}
        self.request("PUT", path, data=text.encode(), headers=headers)

    def get(self, name):
        return self.request("GET", self.book + name).content

    def delete(self, name):
        self.request("DELETE", self.book + name)

    def clear(self):
        body = '<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>'
        listing = self.request(
            "PROPFIND", self.book, data=body, headers={"Depth": "1", "Content-Type": "application/xml"}
        ).text
        for href in re.findall(r"href>([^<]+\.vcf)<", listing):
            self.request("DELETE", href)


@contextlib.contextmanager
def running(command, port, folder, **options):
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **options)
        try:
            for _ in range(400):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                    break
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
            yield process
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def radicale(folder, port=None):
    port = port or free_port()
    users, config = folder / "users", folder / "config"
    users.write_text(f"{USER}:{PASSWORD}\n", encoding="utf-8")
    config.write_text(
        f"[server]\nhosts = 127.0.0.1:{port}\n"
        f"[auth]\ntype = htpasswd\nhtpasswd_filename = {users}\nhtpasswd_encryption = plain\ndelay = 0\n"
        f"[storage]\nfilesystem_folder = {folder / 'collections'}\n[logging]\nlevel = warning\n"
    )
    command = [sys.executable, "-m", "radicale", "--config", str(config)]
    with running(command, port, folder) as process:
        auth = (USER.encode(), PASSWORD.encode())
        server = RealServer(
            "radicale",
            f"http://127.0.0.1:{port}",
            USER,
            f"/{USER}/book/",
            auth,
            process,
            reports_changes=True,
        )
        if not (folder / "collections" / "collection-root" / USER).exists():
            for name in ("book", "other"):
                make_book(server, f"/{USER}/{name}/", name)
        yield server


def make_book(server, path, name):
    body = (
        '<?xml version="1.0"?><mkcol xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><set><prop>'
        f"<resourcetype><collection/><C:addressbook/></resourcetype><displayname>{name}</displayname>"
        "</prop></set></mkcol>"
    )
    server.request("MKCOL", path, data=body)


@contextlib.contextmanager
def xandikos(folder, port=None):
    port = port or free_port()
    command = [
        sys.executable, "-m", "xandikos", "serve", "--no-detect-systemd", "--defaults",
        "-d", str(folder / "data"), "-l", "127.0.0.1", "-p", str(port), "--state-dir", str(folder / "state"),
    ]  # fmt: skip
    with running(command, port, folder) as process:
        book = "/user/contacts/addressbook/"
        yield RealServer(
            "xandikos", f"http://127.0.0.1:{port}", "", book, None, process, reports_changes=True
        )


ROUTER = """<?php
error_reporting(E_ERROR);
date_default_timezone_set('UTC');
require_once 'Sabre/autoload.php';
if ($_SERVER['REQUEST_URI'] == '/.well-known/carddav') { header('Location: /dav/', true, 301); return; }
$pdo = new PDO('sqlite:' . __DIR__ . '/db.sqlite');
$pdo->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
$principals = new Sabre\\DAVACL\\PrincipalBackend\\PDO($pdo);
$server = new Sabre\\DAV\\Server(array(
    new Sabre\\DAVACL\\PrincipalCollection($principals),
    new Sabre\\CardDAV\\AddressBookRoot($principals, new Sabre\\CardDAV\\Backend\\PDO($pdo)),
));
$server->setBaseUri('/dav/');
$server->addPlugin(new Sabre\\DAV\\Auth\\Plugin(new Sabre\\DAV\\Auth\\Backend\\PDO($pdo), 'SabreDAV'));
$server->addPlugin(new Sabre\\CardDAV\\Plugin());
$server->addPlugin(new Sabre\\DAVACL\\Plugin());
$server->exec();
"""
SABRE_TABLES = """
CREATE TABLE addressbooks (id integer primary key, principaluri text, displayname text, uri text,
    description text, ctag integer);
CREATE TABLE cards (id integer primary key, addressbookid integer, carddata blob, uri text,
    lastmodified integer);
CREATE TABLE users (id integer primary key, username text unique, digesta1 text);
CREATE TABLE principals (id integer primary key, uri text unique, email text, displayname text,
    vcardurl text);
CREATE TABLE groupmembers (id integer primary key, principal_id integer, member_id integer);
INSERT INTO principals (uri, displayname) VALUES ('principals/ada', 'Ada');
INSERT INTO addressbooks VALUES (1, 'principals/ada', 'People', 'people', '', 1);
"""


@contextlib.contextmanager
def sabre(folder, port=None):
    if not SABRE.exists() or shutil.which("php") is None:
        pytest.skip("php-sabre-dav is not installed")
    port = port or free_port()
    (folder / "router.php").write_text(ROUTER)
    with contextlib.closing(sqlite3.connect(folder / "db.sqlite")) as db:
        db.executescript(SABRE_TABLES)
        a1 = hashlib.md5(f"{USER}:SabreDAV:{PASSWORD}".encode()).hexdigest()
        db.execute("INSERT INTO users (username, digesta1) VALUES (?, ?)", (USER, a1))
        db.commit()
    command = ["php", "-d", "include_path=.:/usr/share/php", "-S", f"127.0.0.1:{port}", "router.php"]
    with running(command, port, folder) as process:
        auth = HTTPDigestAuth(USER, PASSWORD)
        yield RealServer(
            "sabre", f"http://127.0.0.1:{port}", USER, "/dav/addressbooks/ada/people/", auth, process,
            reports_changes=False,
        )  # fmt: skip


STARTERS = {"radicale": radicale, "xandikos": xandikos, "sabre": sabre}
