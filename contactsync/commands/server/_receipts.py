"""What the commands that remove members share: they overwrite what was removed, and give a receipt of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _json
from contactsync.commands.server._shared import check_erased, folder_of
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.server.receipts import Removal
    from contactsync.server.storage.ports import Members, MemberStore


def receipt_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--reference TEXT` and `--receipt FILE`."""
    command = click.option(
        "--receipt",
        "receipt_file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write the receipt to FILE, as JSON, readable by its owner only.",
    )(command)
    return click.option("--reference", metavar="TEXT", help="Your own reference, for the receipt.")(command)


class Erasing:
    """Counts who is about to be removed from a store, if a receipt is wanted; then erases, and makes it out.

    `audience` is what they are removed from; None: everything about them is forgotten.
    """

    def __init__(
        self,
        data: Path,
        store: MemberStore,
        audience: str | None,
        *,
        wanted: bool,
        file: Path | None,
        reference: str | None,
        objects: bool = False,
    ) -> None:
        from contactsync.server.receipts import Removal

        self._data = data
        self._store = store
        self._audience = audience
        self._wanted = wanted or file is not None
        self._file = file
        self._reference = reference
        self._objects = objects
        self._removal: Removal = Removal()
        self._kept = ""

    def watch(self, members: Members, audience: str | None) -> None:
        """Count them; to be called while they are still stored."""
        if self._wanted:
            self._removal.add(self._store.show(members), audience, objects=self._objects)

    def finish(self, removed: int) -> dict[str, Any] | None:
        """Overwrite what was removed; the receipt, if one is wanted. No transaction may be open.

        Raises BadInput if the receipt cannot be written: it is in the hint then.
        """
        from contactsync.publication.tuf.repository import Repository

        self._kept = self._store.erase()
        if not self._wanted:
            return None
        receipt = self._removal.receipt(
            Repository(folder_of(self._data).public),
            removed=removed,
            audience=self._audience,
            reference=self._reference,
            kept=self._kept,
        )
        if self._file is not None:
            text = _json.text(receipt).rstrip()
            try:
                durable.write(self._file, text.encode() + b"\n")
            except OSError as error:
                raise BadInput(
                    f"removed, but {self._file} cannot be written: {error.strerror}",
                    hint=f"keep this receipt: {text}",
                ) from error
        return receipt

    def check(self, *, as_json: bool) -> None:
        """Say that something is not erased yet, and exit with 1; to be called when all has been printed."""
        try:
            check_erased(self._kept)
        except OurError as error:
            if not as_json:
                raise
            click.echo(f"error: {error}", err=True)  # the receipt is the only document on stdout
            raise click.exceptions.Exit(1) from None
