"""Publishes again and again in forked children, each of which kills itself (SIGKILL) at another step.

Run by test_publish_killed.py in a process of its own: `kill_driver.py FOLDER ACTION EXECUTOR`. A step is a
call that changes the disk: os.replace, os.fsync, os.unlink …, and each transaction of the registry. A child
dies before its n-th step or right after it; with threads that is in whichever of them comes to it. After each
death a client that had followed edition 1 follows again and checks every file; then a publish that nobody
kills has to give what it would have given, and to remove what the dead one left.
"""

import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from publishing_tools import InLine
from server_tools import AMERICAN, GERMAN, FolderFetcher, Operator

from contactsync.publication.tuf.follower import Follower
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.publisher import WORK, Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.storage.sqlite.members import SqliteMembers

STEPS = [(os, name) for name in ("replace", "fsync", "unlink", "mkdir", "rmdir")]
STEPS += [(SqliteMembers, name) for name in ("store_tokens", "settle", "drop_tokens")]


def publish(path, action, executor):
    folder = DataFolder(path)
    registry = SqliteMembers(folder.registry)
    publisher = Publisher(
        folder,
        registry,
        Keyring.open(folder.keys, None),
        executor=InLine() if executor == "in-line" else None,
    )
    publisher.publish(new_epoch=action == "new-epoch")
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


def is_killed(path, action, executor, limit, moment):
    child = os.fork()
    if not child:
        arm(limit, moment)
        publish(path, action, executor)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


def check(path, state, root):
    """Follow as a client; every file of the manifest is there and is what it says. Returns the manifest."""
    manifest = Follower(state, "http://x", FolderFetcher(path / "public"), root).manifest("people")
    for sha256, file in manifest.files().items():
        data = (path / "public" / "data" / sha256).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (sha256, file.length)
    return manifest


def main(folder, action, executor):
    before, work, state = folder / "before", folder / "work", folder / "state"
    operator = Operator(before)
    operator.add(GERMAN, AMERICAN)
    operator.publish()
    root = operator.repository.root_bytes()
    first = check(before, state, root)
    operator.add(*range(GERMAN + 1, GERMAN + 40), 4369912345678)
    operator.registry.close()
    shutil.copytree(before, work)
    publish(work, action, executor)  # loads the kernels for all children, too
    wanted = check(work, folder / "fresh", root)
    deaths = {"old": 0, "new": 0, "spooled": 0}
    for moment in ("before", "after"):
        limit = 1
        while True:
            for path in (work, folder / "client"):
                shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(before, work)
            shutil.copytree(state, folder / "client", symlinks=True)
            if not is_killed(work, action, executor, limit, moment):
                break
            served = check(work, folder / "client", root)
            is_old = (served.epoch, served.edition) == (first.epoch, first.edition)
            assert not is_old or served == first
            deaths["old" if is_old else "new"] += 1
            deaths["spooled"] += any((work / "public" / "data" / WORK).glob("*.tokens"))
            publish(work, action if is_old else "plain", executor)
            served = check(work, folder / "client", root)
            assert (served.epoch, served.edition, served.count) == (
                wanted.epoch,
                wanted.edition,
                wanted.count,
            )
            if action == "plain":  # a new epoch draws a new key each time
                assert served.to_bytes() == wanted.to_bytes()
            leftover = {path.name for path in (work / "public" / "data").iterdir()}
            assert leftover == {*first.files(), *served.files()}
            limit += 1
    print(json.dumps(deaths))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
