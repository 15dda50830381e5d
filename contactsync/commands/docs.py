"""`contactsync docs`: prints the documents of this version, with or without a checkout."""

from __future__ import annotations

from importlib.resources import files

import click


@click.command()
@click.argument("page", required=False)
def docs(page: str | None) -> None:
    """List the documents of this version, or print PAGE, such as address-books.

    Pages are Markdown; openapi.yaml (the admin API) and openapi-client.yaml are definitions for programs. A
    link to `protocol.md` is a link to the page protocol.
    """
    folder = files("contactsync") / "docs"  # in a checkout a link to docs/, in a wheel a copy
    pages = {
        one.name.removesuffix(".md"): one
        for one in sorted(folder.iterdir(), key=lambda one: one.name)
        if one.name.endswith((".md", ".yaml"))
    }
    if page is None:
        width = max(map(len, pages))
        for name, one in pages.items():
            first, _, _ = one.read_text(encoding="utf-8").partition("\n")
            click.echo(f"{name:<{width}}  {first.removeprefix('# ')}")
        return
    name = page.removeprefix("docs/").removesuffix(".md")
    if name not in pages:
        known = ", ".join(pages)
        raise click.BadParameter(f"there is no page {page!r}. Pages: {known}.", param_hint="PAGE")
    click.echo(pages[name].read_text(encoding="utf-8"), nl=False)
