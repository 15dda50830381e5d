"""Executors for tests."""

from concurrent.futures import Executor, Future


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
