"""Publishes again and again in forked children, each of which kills itself (SIGKILL) at another step.

Run by test_publish_killed.py in a process of its own: `kill_driver.py FOLDER ACTION EXECUTOR`. A step is a
call that changes the disk: os.replace, os.fsync, os.unlink …, and each transaction of the registry. A child
dies before its n-th step or right after it; with threads that is in whichever of them comes to it. After each
death a client that had followed the last edition follows again and checks every file, and the seeds of all
epochs that clients may ask for are on the disk; then a publish that nobody kills has to give what it would
have given, and to remove what the dead one left. Rotations begin, end, are taken back and abandoned in the
same way (ACTION); some of them go on by a plain publish. With `rows` there are those for private look-up, and
none of an edition that nobody is led to. With `patched` a partition keeps its base, and has one patch more;
with `labelled` it has labels, one of which becomes another.
If all of it is `logged`, what is in the log and not in its place is finished by the next publish, whatever
that was to do; every seventh step is died at, and the last ones.

FOLDER may be in memory: what a killed process has written stays in the kernel, which is asked for it again,
whatever is below. Children are forked by a process of one thread that has published before.
"""

import contextlib
import gc
import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
from publishing_tools import InLine
from server_tools import AMERICAN, GERMAN, FolderFetcher, Operator, numbers

from contactsync.publication.history import Link
from contactsync.publication.log.entries import LoggedManifest, read_entry
from contactsync.publication.log.tiles import HashReader
from contactsync.publication.logged import last_checkpoint, logged_link
from contactsync.publication.tuf import rehearsal
from contactsync.publication.tuf.follower import Follower
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.publishing import patching
from contactsync.server.publishing.publisher import WORK, Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.row_files import open_rows, with_rows
from contactsync.server.settings import EDITIONS_SERVED, DataFolder
from contactsync.server.storage import token_log
from contactsync.server.storage.ports import Members
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.server.storage.token_log import noted_as

STEPS = [(os, name) for name in ("replace", "fsync", "unlink", "mkdir", "rmdir")]
ORDERS = {
    "plain": Order(),
    "new-epoch": Order(Aim.NEW_EPOCH),
    "rotate": Order(Aim.ROTATE, 999_999),
    "promote": Order(),
    "take-back": Order(Aim.TAKE_BACK),
    "emergency": Order(Aim.NEW_EPOCH),
}
ROTATING = {"promote": 1, "take-back": 999_999, "emergency": 999_999}
"""Those before which a rotation is running, with its overlap."""

LOGGED_STRIDE = 7
"""The log has many more steps; those that all publishes have are taken one by one without it."""

STEPS += [(SqliteMembers, name) for name in ("begin_log", "begin_search", "store_tokens", "end_search")]
STEPS += [(SqliteMembers, name) for name in ("note_base", "settle", "drop_tokens")]


def publish(path, action, executor):
    folder = DataFolder(path)
    registry = SqliteMembers(folder.registry)
    publisher = Publisher(
        folder,
        registry,
        Keyring.open(folder.keys, None),
        executor=None if executor in {"threads", "rows"} else InLine(),
    )
    publisher.publish(order=ORDERS[action])
    registry.close()


def arm(limit, moment):
    steps = itertools.count(1)  # one `next` is one step, whichever thread makes it

    def counted(function):
        def call(*arguments, **options):
            step = next(steps)
            if step == limit and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **options)
            if step == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))


def begin_again(folder):
    """A server and a client as before, and nothing in memory: to remove what others left takes steps, too."""
    work, client, memory = folder / "work", folder / "client", folder / "memory"
    for path in (work, client, memory):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(folder / "before", work)
    shutil.copytree(folder / "state", client, symlinks=True)
    memory.mkdir()
    rehearsal._IN_MEMORY = str(memory)


def is_killed(path, action, executor, limit, moment):
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork needs a process of one thread"
    child = os.fork()
    if not child:
        arm(limit, moment)
        publish(path, action, executor)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


def check_log(public, manifest):
    """No edition has two leaves, and what is served has one."""
    log = public / "log"
    checkpoint = last_checkpoint(log)
    reader = HashReader(lambda path: (log / path).read_bytes(), checkpoint)
    leaves = [read_entry(one) for one in reader.entries(0, checkpoint.size)]
    places = [(one.audience, one.epoch, one.edition) for one in leaves if isinstance(one, LoggedManifest)]
    assert len(set(places)) == len(places)
    assert logged_link(Link.from_bytes(manifest.to_bytes())) in leaves


def check(path, state, root):
    """Follow as a client; every file of the manifest is there and is what it says. Returns the manifest."""
    manifest = Follower(state, "http://x", FolderFetcher(path / "public"), root).manifest("people")
    if "private_lookup = 1" in (path / "server.toml").read_text():
        assert manifest.rows is not None
    for sha256, file in manifest.files().items():
        data = (path / "public" / "data" / sha256).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (sha256, file.length)
    if (path / "public" / "log").exists():
        check_log(path / "public", manifest)
    keyring = Keyring.open(path / "keys", None)
    for epoch in filter(None, (manifest, manifest.next)):
        assert keyring.key_pair("people", epoch.epoch).public == epoch.public_key
    return manifest


def is_done(action, served, first):
    if action == "plain":
        return served.edition > first.edition
    if action in {"rotate", "take-back"}:
        return (served.next is not None) is (action == "rotate")
    return served.epoch > first.epoch


def next_action(action, served, first, path, limit):
    """How an operator goes on after a death: as before, or, every other time, by a plain publish."""
    facts = Keyring.open(path / "keys", None).facts("people", 2)
    goes_on_by_itself = {
        "rotate": facts is not None,
        "take-back": facts is not None and facts.taken_back,
    }.get(action, False)
    if is_done(action, served, first) or (goes_on_by_itself and limit % 2):
        return "plain"
    return action


def outcome(manifest):
    """What must be the same, killed or not; `until` and new keys are others each time."""
    ahead = manifest.ahead()
    figures = [(one.epoch, one.edition, one.count) for one in (manifest, ahead) if one is not None]
    return figures, {
        name: p.edition for one in (manifest, ahead) if one for name, p in one.partitions.items()
    }


def check_nothing_is_left(path, *, has_rows):
    """There are the files of the editions that are served, and no others; nor keys that open nothing."""
    kept = list(Repository(path / "public").history("people", EDITIONS_SERVED))
    leftover = {path.name for path in (path / "public" / "data").iterdir()}
    assert leftover == set().union(*(manifest.files() for manifest in kept))
    assert len(list((path / "keys").glob("departed-*"))) == 1, "that to which the register seals now"
    if has_rows:
        looked_up = with_rows(kept)
        leftover = {path.name for path in (path / "rows" / "people").iterdir()}
        assert leftover == {f"{one.rows.level.sha256}.rows" for one in looked_up}
        for one in looked_up:
            open_rows(path / "rows", one, path / "public")


def check_seeds(path, served):
    """There is a seed of each epoch that clients may ask for, and no other."""
    seeds = {path.name for path in (path / "keys").glob("voprf-*")}
    epochs = [one.epoch for one in (served, served.next) if one is not None]
    assert seeds == {f"voprf-people-{epoch}.json" for epoch in epochs}


def check_pending(path, served):
    """Who is pending is who a search of all members finds: here nobody, and no later publish searches."""
    with contextlib.closing(SqliteMembers(DataFolder(path).registry)) as registry:
        ahead = served.ahead()  # all that have members are in it, or `outcome` would be another
        of = [(one.epoch, name) for one in (served, ahead) if one is not None for name in served.partitions]
        assert all(registry._is_searched(1, epoch, name, keyed=False) for epoch, name in of)
        registry._is_searched = lambda *_of, **_how: False
        assert not any(len(registry.unevaluated("people", *one, None, 1)) for one in of)
        assert registry._database.all("SELECT * FROM pending_tel") == []


def prepare(before, state, action, executor):
    """Publish, follow as a client, and change something: the root, and the manifest that was followed."""
    operator = Operator(before, log=executor == "logged")
    token_log.OPENED = 0  # else few members would be read at once where somebody left
    operator.add(*range(GERMAN, GERMAN + 40), AMERICAN)
    operator.folder.switch_private_lookup(on=executor == "rows")
    if executor == "labelled":
        germans = numbers(*range(GERMAN, GERMAN + 40))
        operator.registry.label(germans, [b"@user%d" % i for i in range(40)])
    if executor == "patched":
        patching.SHARE = 2
        settings = operator.folder.settings_file
        settings.write_text(settings.read_text().replace("patched_from = 131072", "patched_from = 100"))
        operator.add(*range(GERMAN + 1000, GERMAN + 1400))
    operator.publish()
    if executor == "patched":
        operator.registry.remove(Members("tel", np.array([GERMAN + 1000], np.uint64)))
        operator.publish()
        assert len(operator.manifest().partitions["49"].patches.files) == 1
    root = operator.repository.root_bytes()
    if action in ROTATING:
        order = Order(Aim.ROTATE, ROTATING[action])
        Publisher(operator.folder, operator.registry, operator.keyring).publish(order=order)
    first = check(before, state, root)
    operator.add(*range(GERMAN + 40, GERMAN + 45), 4369912345678)
    operator.registry.remove(Members("tel", np.array([GERMAN], np.uint64)))
    if executor == "labelled":
        operator.registry.label(numbers(GERMAN + 1, GERMAN + 40), [b"renamed", b"joined"])
    # One partition is made of what is published and what changed, another one of all its tokens.
    german = operator.manifest().partitions["49"]
    keys = operator.keyring.departed_keys()
    assert operator.registry.token_changes("people", 1, "49", noted_as(german), keys) is not None
    if executor == "labelled":
        assert operator.registry.changed_outputs("people", 1, "49", noted_as(german)) is not None
    operator.registry.close()
    if action == "promote":
        time.sleep(max(0, first.next.until - time.time()) + 0.1)
    return root, first


def main(folder, action, executor):
    before, work, state = folder / "before", folder / "work", folder / "state"
    root, first = prepare(before, state, action, executor)
    shutil.copytree(before, work)
    publish(work, action, executor)  # loads the kernels for all children, too
    wanted = check(work, folder / "fresh", root)
    patches = wanted.partitions["49"].patches
    assert (None if patches is None else len(patches.files)) == (2 if executor == "patched" else None)
    labels = wanted.partitions["49"].labels
    assert (None if labels is None else len(labels.deltas)) == (1 if executor == "labelled" else None)
    gc.collect()
    gc.freeze()  # or collections, in the children above all, copy every page of it
    deaths = {"old": 0, "new": 0, "spooled": 0}
    for moment in ("before", "after"):
        limit, stride = 1, LOGGED_STRIDE if executor == "logged" else 1
        while True:
            begin_again(folder)
            if not is_killed(work, action, executor, limit, moment):
                if stride == 1:
                    break
                limit, stride = limit - stride + 1, 1  # the last steps, which clean up, one by one
                continue
            served = check(work, folder / "client", root)
            is_old = (served.epoch, served.edition) == (first.epoch, first.edition)
            assert not is_old or served == first
            deaths["old" if is_old else "new"] += 1
            deaths["spooled"] += any((work / "public" / "data" / WORK).glob("*.[tc]*"))
            announced = served.next
            publish(work, next_action(action, served, first, work, limit), executor)
            served = check(work, folder / "client", root)
            assert outcome(served) == outcome(wanted)
            check_pending(work, served)
            if action == "plain":  # a new epoch draws a new key each time
                assert served.to_bytes() == wanted.to_bytes()
            if announced is not None and action in {"rotate", "promote"}:
                keys = {served.public_key, served.next and served.next.public_key}
                assert announced.public_key in keys, "no second key for an announced epoch"
            if announced is not None and action == "emergency":
                assert announced.public_key != served.public_key
            check_nothing_is_left(work, has_rows=executor == "rows")
            check_seeds(work, served)
            limit += stride
    print(json.dumps(deaths))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
