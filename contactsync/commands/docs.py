"""`contactsync docs`: prints the documents of this version, with or without a checkout."""

from __future__ import annotations

from importlib.resources import files

import click


@click.command()
@click.argument("page", required=False)
def docs(page: str | None) -> None:
    """List the documents of this version, or print PAGE, such as address-books.

    Pages are Markdown. A link to `protocol.md` is a link to the page protocol.
    """
    folder = files("contactsync") / "docs"  # in a checkout a link to docs/, in a wheel a copy
    pages = sorted(one.name.removesuffix(".md") for one in folder.iterdir() if one.name.endswith(".md"))
    if page is None:
        width = max(map(len, pages))
        for name in pages:
            first, _, _ = (folder / f"{name}.md").read_text(encoding="utf-8").partition("\n")
            click.echo(f"{name:<{width}}  {first.removeprefix('# ')}")
        return
    name = page.removeprefix("docs/").removesuffix(".md")
    if name not in pages:
        known = ", ".join(pages)
        raise click.BadParameter(f"there is no page {page!r}. Pages: {known}.", param_hint="PAGE")
    click.echo((folder / f"{name}.md").read_text(encoding="utf-8"), nl=False)
