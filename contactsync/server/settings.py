"""The data folder of a server: its files, its settings, and the lock for publishing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import textwrap
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Self

from contactsync.foundation import durable, migrations
from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.breakers import Breakers
from contactsync.server.objects.address import StoreUrl
from contactsync.server.origins import ABOUT_ORIGINS, ORIGINS, read_origins
from contactsync.server.page import ABOUT_PAGE, EXAMPLES, PageSettings
from contactsync.server.page import SETTINGS as PAGE
from contactsync.server.quota import DEFAULT_CLASS, MOST, PointQuota

EDITIONS_SERVED: Final = 3
"""How many editions, including the current one, have their data files kept and served."""

LOCK_WAIT: Final = 3.0
"""Seconds to wait for the lock: longer than a server takes to renew signatures, shorter than a publish."""

SETTINGS_STEPS: Final[Sequence[migrations.RecordStep]] = ()
"""Convert the settings of a server.toml with an earlier `layout` to the newest.

They run in memory each time the file is read. The file and its comments belong to the operator: it is never
rewritten.
"""

QUOTA_CLASS: Final = re.compile(r"(?!none$)[a-z][a-z0-9-]{0,31}")
"""What a class of quotas may be called. `none` is what a command calls having none."""

_LAYOUT: Final = "layout"
_QUOTA: Final = "quota"
_DATABASE: Final = "database"
_PASSWORD_FILE: Final = "database_password_file"  # noqa: S105 - the name of a setting
_STORE: Final = "store"
_PRIVATE_LOOKUP: Final = "private_lookup"
_COMMENT_WIDTH: Final = 100
_ABOUT_QUOTAS: Final = (
    "How many points an account may have evaluated: burst at once, per_day a day in the long run. An account"
    " has a class (`accounts add --class NAME`), which is a table [quota.NAME] here; without one, the table"
    " named like its audience counts; if there is none, this one."
)

_ABOUT_DATABASE: Final = (
    "The PostgreSQL database that has the members and accounts. Its password is not here: it comes from"
    f" PGPASSFILE, a service file, or the first line of a file that {_PASSWORD_FILE} names."
)

_ABOUT_STORE: Final = (
    "The object store that each publish is copied to: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX,"
    " az://ACCOUNT/CONTAINER/PREFIX or file:///FOLDER. Its credentials come from the environment."
)


def _setting(default: int, allowed: Sequence[int], meaning: str) -> int:
    """A setting, defined once. The template, the checks and the table in docs/operations.md come from it."""
    assert default in allowed
    found: int = field(default=default, metadata={"allowed": allowed, "meaning": meaning})
    return found


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in server.toml."""

    remainder_bits: int = _setting(
        32,
        (32, 40),
        "Bits of a token kept beyond its slot: 32 gives about 1 false match in 4 billion lookups, 40 in a"
        " trillion. A change takes effect for each partition at its next publish.",
    )
    evaluator_threads: int = _setting(
        0, range(1025), "Threads that evaluate batches; 0 means one for each processor."
    )
    evaluator_queue: int = _setting(
        64,
        range(1, 65537),
        "Batches of one account that may wait for a thread, and half of those of all; others are answered"
        " with status 503. One of fewer than 512 points counts in part.",
    )
    head_seconds: int = _setting(
        10, range(1, 3601), "Seconds for the head of a request to arrive; the connection then ends."
    )
    idle_seconds: int = _setting(
        30, range(1, 3601), "Seconds that a connection may wait for its next request."
    )
    stall_seconds: int = _setting(
        30, range(1, 3601), "Seconds that a caller may stop reading a response; the connection then ends."
    )
    connections_per_address: int = _setting(
        256,
        range(1 << 20),
        "Connections at a time of one address (of a /64 with IPv6); of those behind a trusted proxy, requests"
        " at a time. Connections from this machine are not counted. 0 means no limit.",
    )
    lookup_megabytes: int = _setting(
        128,
        range(1, (1 << 20) + 1),
        "Megabytes (2^20 octets) that private look-ups may take while they wait and are answered, in each"
        " worker; of these one account has half at most. What is beyond is answered with status 503.",
    )
    points_per_hour: int = _setting(
        1_000_000,
        range(MOST + 1),
        "Points of all accounts together in an hour; what is beyond is answered with status 503. 0 means no"
        " limit.",
    )
    new_points_per_hour: int = _setting(
        250_000,
        range(MOST + 1),
        "The same for new accounts together, whose points count in both limits. 0 means no limit.",
    )
    new_account_days: int = _setting(
        7, range(1, 366), "For so many days after it was added, an account is new."
    )
    alarm_percent: int = _setting(
        50, range(1, 101), "At this share of one of these two limits, the log and `status` warn."
    )
    rotate_after_days: int = _setting(
        180, range(1, 3651), "At this age of an epoch, the log and `status` say that a rotation is due."
    )
    rotate_after_points: int = _setting(
        1 << 36,
        range(1, (1 << 40) + 1),
        "The same when so many points were evaluated in it.",
    )
    private_lookup: int = _setting(
        0,
        (0, 1),
        "1: each publish makes rows for private look-up as well, which need disk space beside the data files."
        " `server publish --private-lookup yes|no` writes it.",
    )
    patched_from: int = _setting(
        1 << 17,
        range(1 << 34),
        "Partitions of so many members keep their base, and patches lead on from it, until they are a"
        " twentieth of it; then, or after a thousand editions, it is written anew. 0: each publish writes"
        " every base that changed, as clients need that are older than patches.",
    )
    database: str = ""
    """The URL of the PostgreSQL database of the stores, without a password. Empty: files in the folder."""
    database_password_file: str = ""
    """A file whose first line is the password for it, from the data folder. Empty: libpq looks for it."""
    store: str = ""
    """The URL of the object store that has a copy of what is published. Empty: there is none."""
    web_origins: tuple[str, ...] = ()
    """Origins of pages that may use the server from a browser."""
    page: PageSettings = field(default_factory=PageSettings)
    """The page for people."""
    quotas: Mapping[str, PointQuota] = field(default_factory=lambda: {DEFAULT_CLASS: PointQuota()})
    """By class, as the tables [quota.CLASS] say; there is always one of the name `default`."""

    @property
    def breakers(self) -> Breakers:
        """The limits over all accounts and over new ones."""
        return Breakers(
            self.points_per_hour, self.new_points_per_hour, self.new_account_days, self.alarm_percent
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises BadInput for an unknown setting or a value that is not allowed, and OSError.

        Raises OurError if the file needs a newer contactsync.
        """
        # A missing layout means the first one: operators were never told to keep that line.
        values = {_LAYOUT: 1, **_read_toml(path)}
        if type(values[_LAYOUT]) is not int or values[_LAYOUT] < 1:
            raise _not_allowed(path, _LAYOUT, range(1, migrations.newest(SETTINGS_STEPS) + 1))
        values = migrations.migrate_record(values, str(path), SETTINGS_STEPS, key=_LAYOUT)
        del values[_LAYOUT]
        quotas = _read_quotas(path, values.pop(_QUOTA, {}))
        texts = {name: _text(path, values, name) for name in (_DATABASE, _PASSWORD_FILE, _STORE)}
        origins = read_origins(path, values.pop(ORIGINS, []))
        page = PageSettings.take(path, values)
        values = {name: value for name, value in values.items() if name not in texts}
        allowed = {setting.name: setting.metadata["allowed"] for setting in _whole_numbers()}
        for name, value in values.items():
            if name not in allowed:
                known = ", ".join([*allowed, *texts, ORIGINS, *PAGE])
                raise BadInput(f"{path} has an unknown setting, {name!r}", hint=f"the settings are {known}")
            if type(value) is not int or value not in allowed[name]:
                raise _not_allowed(path, name, allowed[name])
        return cls(
            **values,
            database=texts[_DATABASE],
            database_password_file=texts[_PASSWORD_FILE],
            store=texts[_STORE] and str(StoreUrl.parse(texts[_STORE])),
            web_origins=origins,
            page=page,
            quotas=quotas,
        )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path} is not TOML: {error}", hint="correct the file") from error


def _text(path: Path, values: Mapping[str, Any], name: str) -> str:
    found = values.get(name, "")
    if not isinstance(found, str):
        raise BadInput(f"{path}: {name} must be a text in quotes", hint="correct the file")
    return found


def _whole_numbers() -> list[Field[Any]]:
    return [setting for setting in fields(Settings) if setting.metadata]


def _read_quotas(path: Path, tables: object) -> dict[str, PointQuota]:
    """The classes of quotas. A figure that a class does not state is that of `default`."""
    names = [figure.name for figure in fields(PointQuota)]
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise BadInput(
            f"{path}: {_QUOTA} must have one table for each class", hint=f"write [{_QUOTA}.{DEFAULT_CLASS}]"
        )
    for name, table in tables.items():
        if not QUOTA_CLASS.fullmatch(name):
            hint = (
                "a class name is 1 to 32 characters of a-z, 0-9 and -, begins with a letter, and is not none"
            )
            raise BadInput(f"{path} has an invalid quota class name, {name!r}", hint=hint)
        for figure, value in table.items():
            setting = f"{_QUOTA}.{name}.{figure}"
            if figure not in names:
                known = ", ".join(names)
                raise BadInput(f"{path} has an unknown setting, {setting!r}", hint=f"known are {known}")
            if type(value) is not int or not 1 <= value <= MOST:
                raise _not_allowed(path, setting, range(1, MOST + 1))
    default = PointQuota(**tables.get(DEFAULT_CLASS, {}))
    return {DEFAULT_CLASS: default} | {name: replace(default, **table) for name, table in tables.items()}


def _not_allowed(path: Path, name: str, allowed: Sequence[int]) -> BadInput:
    return BadInput(
        f"{path}: the value of {name} must be {_text_of(allowed)}",
        hint="correct the file; `contactsync docs operations` describes each setting",
    )


def _text_of(allowed: Sequence[int]) -> str:
    if len(allowed) == 1:
        return f"{allowed[0]}"
    return f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else " or ".join(map(str, allowed))


def template(database: str = "", store: str = "") -> str:
    """The server.toml of a new server: every setting with its meaning and default."""
    lines = ["# Settings of this contactsync server. See `contactsync docs operations`."]
    lines += [f"{_LAYOUT} = {migrations.newest(SETTINGS_STEPS)}"]
    for name, value, about in ((_DATABASE, database, _ABOUT_DATABASE), (_STORE, store, _ABOUT_STORE)):
        if value:
            lines += ["", *(f"# {line}" for line in textwrap.wrap(about, _COMMENT_WIDTH))]
            lines += [f"{name} = {json.dumps(value)}"]  # a string of JSON is one of TOML
    for setting in _whole_numbers():
        meaning = f"{setting.metadata['meaning']} Allowed: {_text_of(setting.metadata['allowed'])}."
        lines += ["", *(f"# {line}" for line in textwrap.wrap(meaning, _COMMENT_WIDTH))]
        lines += [f"{setting.name} = {setting.default}"]
    lines += ["", *(f"# {line}" for line in textwrap.wrap(ABOUT_ORIGINS, _COMMENT_WIDTH))]
    lines += [f'# {ORIGINS} = ["https://app.example"]']
    lines += ["", *(f"# {line}" for line in textwrap.wrap(ABOUT_PAGE, _COMMENT_WIDTH))]
    lines += [f"# {line}" for line in EXAMPLES]
    lines += ["", *(f"# {line}" for line in textwrap.wrap(_ABOUT_QUOTAS, _COMMENT_WIDTH))]
    lines += [f"[{_QUOTA}.{DEFAULT_CLASS}]", *(f"{name} = {n}" for name, n in asdict(PointQuota()).items())]
    return "\n".join(lines) + "\n"


def table() -> str:
    """The settings as docs/operations.md shows them, in Markdown."""
    rows = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
    for setting in _whole_numbers():
        allowed, meaning = _text_of(setting.metadata["allowed"]), setting.metadata["meaning"]
        rows += [f"| `{setting.name}` | {setting.default} | {allowed} | {meaning} |"]
    return "\n".join(rows) + "\n"


class Busy(OurError):
    """Another process is changing what is published."""


class DataFolder:
    """The paths in a data folder. Nothing is read or written until a method is called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings_file = path / "server.toml"
        self.registry = path / "registry.sqlite"
        self.accounts = path / "accounts.sqlite"
        self.keys = path / "keys"
        self.public = path / "public"
        self.data = path / "public" / "data"
        self.prepared = path / "prepared.json"
        self.log = path / "log"
        self.rows = path / "rows"
        self._lock = path / "publish.lock"

    @classmethod
    def existing(cls, path: Path) -> Self:
        """The data folder at `path`. Raises BadInput unless `server init` was run there."""
        folder = cls(path)
        try:
            there = folder.settings_file.is_file()
        except PermissionError:
            raise BadInput(f"{path}: permission denied", hint="run as the user who owns it") from None
        if not there:
            raise BadInput(
                f"{path} is not the data folder of a server",
                hint=f"run `contactsync server init --data {path}`",
            )
        return folder

    def create(self) -> None:
        """Make the folder, 0700. `finish` writes its settings later. Raises BadInput if it is in use."""
        if self.settings_file.exists():
            raise BadInput(f"{self.path} is already initialised", hint="nothing was changed")
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise BadInput(
                f"{self.path} is not an empty folder",
                hint="give a new folder, or remove what an interrupted `server init` left there",
            )
        try:
            for folder in reversed(self.path.absolute().parents):
                if not folder.exists():
                    durable.make_folder(folder, mode=durable.PUBLIC_FOLDER)
            durable.make_folder(self.path)
            self.path.chmod(0o700)
            durable.make_folder(self.public, mode=durable.PUBLIC_FOLDER)
            durable.make_folder(self.data, mode=durable.PUBLIC_FOLDER)
        except PermissionError as error:
            raise BadInput(
                f"cannot create {self.path}: {error.strerror}", hint="check the permissions"
            ) from error

    def discard(self) -> None:
        """Empty the folder, as far as possible, because an init failed after `create`."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def finish(self, database: str = "", store: str = "") -> None:
        """Write the settings file: from now on, the folder counts as initialised."""
        durable.sync_folder(self.path)  # because SQLite created the registry
        durable.write(self.settings_file, template(database, store).encode())

    def database(self) -> tuple[str, str]:
        """The settings `database` and `database_password_file`, whatever is wrong with others. BadInput."""
        if not self.settings_file.exists():  # as before `finish`
            return "", ""
        values = _read_toml(self.settings_file)
        file = self.settings_file
        return _text(file, values, _DATABASE), _text(file, values, _PASSWORD_FILE)

    def name_database(self, url: str) -> None:
        """Have server.toml say that the stores are in a database, or ("") files. All other lines stay."""
        self._name(_DATABASE, json.dumps(url) if url else "")

    def name_store(self, url: str) -> None:
        """Have server.toml say which object store has a copy, or ("") that none has. All other lines stay."""
        self._name(_STORE, json.dumps(url) if url else "")

    def switch_private_lookup(self, *, on: bool) -> None:
        """Have server.toml say whether publishes make rows for private look-up. All other lines stay."""
        self._name(_PRIVATE_LOOKUP, str(int(on)))

    def _name(self, setting: str, value: str) -> None:
        text = self.settings_file.read_text("utf-8")
        lines, is_it = text.split("\n"), re.compile(rf"{setting}\s*=").match
        # Else before the first table, where it would be a part of that.
        at = next((place for place, line in enumerate(lines) if is_it(line)), int(lines[0].startswith("#")))
        lines = [line for line in lines if not is_it(line)]
        if value:
            lines.insert(at, f"{setting} = {value}")
        durable.write(self.settings_file, "\n".join(lines).encode())

    def settings(self) -> Settings:
        """The settings."""
        return Settings.read(self.settings_file)

    @contextlib.contextmanager
    def lock(self, *, wait: float = 0) -> Iterator[None]:
        """Hold the lock for publishing. Raises Busy if another process keeps it for more than `wait` seconds.

        The kernel releases the lock when a process ends, however it ends.
        """
        end = time.monotonic() + wait
        descriptor = os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                if time.monotonic() >= end:
                    raise Busy(
                        "another process is publishing from this data folder", hint="wait until it ends"
                    )
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)
