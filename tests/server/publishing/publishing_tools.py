"""Executors for tests, and copies of operators to compare."""

import shutil
from concurrent.futures import Executor, Future

from server_tools import Operator


class InLine(Executor):
    """Runs each job at once, in the thread that hands it in. `jobs` are those that were."""

    def __init__(self) -> None:
        self.jobs = []

    def submit(self, function, /, *arguments, **options) -> Future:
        self.jobs.extend(arguments)
        future = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function(*arguments, **options))
        except BaseException as error:  # noqa: BLE001 - it belongs to the future
            future.set_exception(error)
        return future


class Held(Executor):
    """Runs nothing until it is told to: `futures` in the order of their arrival."""

    def __init__(self) -> None:
        self.futures = []

    def submit(self, function, /, *arguments, **options) -> Future:
        future = Future()
        self.futures.append(future)
        return future


def read_all_tokens(operator):
    """Let the next publish know nothing of what changed: it reads all tokens of what was touched."""
    operator.registry._give_up("1 = 1")


def published(operator):
    """Everything that is public but signatures, which have the time in them."""
    files = operator.public_files()
    return {name: data for name, data in files.items() if not name.startswith("metadata")}


def copy_of(operator, path):
    """The same operator in another folder."""
    shutil.copytree(operator.folder.path, path)
    other = Operator.__new__(Operator)
    other.folder = type(operator.folder)(path)
    other.keyring = type(operator.keyring).open(other.folder.keys, None)
    other.registry = type(operator.registry)(other.folder.registry)
    other.accounts = type(operator.accounts)(other.folder.accounts)
    other.repository = type(operator.repository)(other.folder.public)
    return other
