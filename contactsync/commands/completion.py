"""`contactsync completion`: for bash, zsh and fish."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands and options.

    \b
    bash: contactsync completion bash > ~/.local/share/bash-completion/completions/contactsync
    zsh:  contactsync completion zsh > ~/.zfunc/_contactsync     (with ~/.zfunc in fpath)
    fish: contactsync completion fish > ~/.config/fish/completions/contactsync.fish
    """  # noqa: D301 - click's mark, not a backslash
    from click.shell_completion import get_completion_class

    from contactsync.commands import COMPLETE, main

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "contactsync", COMPLETE).source())
