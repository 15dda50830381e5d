"""`contactsync warmup`: compile the kernels before someone has to wait for them."""

from __future__ import annotations

import click

from contactsync.commands import _json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def warmup(as_json: bool) -> None:
    """Compile the kernels for this machine, and test the engine.

    This also happens at first use, once on each machine and after each update. Run it ahead of time for a
    container image or a service. The compiled code is kept in the user's cache folder, or in
    CONTACTSYNC_CACHE_DIR. Prints how many numbers are computed at a time, and where the code is kept.
    """
    from contactsync.library.warming import warm_up

    done = warm_up()
    if as_json:
        kept = str(done.cache) if done.cache else None
        _json.emit({"lanes": done.lanes, "seconds": round(done.seconds, 3), "cache": kept})
        return
    lanes = f"{done.lanes} {'lanes' if done.lanes > 1 else 'lane'}"
    click.echo(f"ready in {done.seconds:.1f} s: {lanes}, self-test passed")
    if done.cache:
        click.echo(f"compiled code: {done.cache}")
    else:
        click.echo("the compiled code was not kept: no writable folder")
