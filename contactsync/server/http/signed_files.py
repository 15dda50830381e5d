"""The signed files of a publication as routes: metadata, manifests, and the log. Anybody may have them.

A mirror serves the same ones: nothing here knows of accounts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contactsync.foundation.audiences import AUDIENCES
from contactsync.server.http.problems import Problem, not_published
from contactsync.server.http.threads import Threads
from contactsync.server.storage.publications import PublicationStore

_METADATA = re.compile(r"timestamp\.json|root\.json|[1-9][0-9]{0,9}\.(root|snapshot|targets)\.json")
_TARGET = re.compile(rf"[0-9a-f]{{64}}\.({'|'.join(AUDIENCES)})\.json")
_LOG = re.compile(
    r"checkpoint|leaf/[0-9a-f]{64}|root/[1-9][0-9]{0,9}"
    r"|tile/(entries|[0-7])/(x[0-9]{3}/){0,5}[0-9]{3}(\.p/[1-9][0-9]{0,2})?"
)
_IMMUTABLE: Final = "max-age=31536000, immutable"


def signed_routes(publications: PublicationStore, threads: Threads) -> Sequence[Route]:
    """The TUF metadata, and the manifests."""

    async def metadata(request: Request) -> Response:
        name = request.path_params["file"]
        if not _METADATA.fullmatch(name):
            raise Problem("not-found", "there is no metadata with this name")
        if name == "root.json":
            data = await threads.run(publications.root)
            return Response(data, media_type="application/json", headers={"cache-control": "no-cache"})
        found = await threads.run(publications.metadata, name)
        if found is None:
            if name == "timestamp.json":
                raise not_published()
            raise Problem("not-found", "there is no metadata with this name")
        caching = "no-cache" if name == "timestamp.json" else f"public, {_IMMUTABLE}"
        return Response(found, media_type="application/json", headers={"cache-control": caching})

    async def target(request: Request) -> Response:
        name = request.path_params["file"]
        data = await threads.run(publications.manifest, name) if _TARGET.fullmatch(name) else None
        if data is None:
            raise Problem("not-found", "there is no manifest with this name")
        headers = {"cache-control": f"public, {_IMMUTABLE}", "etag": f'"{name[:64]}"'}
        return Response(data, media_type="application/json", headers=headers)

    return Route("/v1/tuf/metadata/{file}", metadata), Route("/v1/tuf/targets/{file}", target)


def log_route(publications: PublicationStore, threads: Threads) -> Route:
    """The log."""

    async def log(request: Request) -> Response:
        name = request.path_params["file"]
        data = await threads.run(publications.log, name) if _LOG.fullmatch(name) else None
        if data is None:
            raise Problem("not-found", "the log has no file with this name")
        is_tile = name.startswith("tile/")
        kind = "application/octet-stream" if is_tile else "text/plain; charset=utf-8"
        caching = f"public, {_IMMUTABLE}" if is_tile else "no-cache"
        return Response(data, headers={"cache-control": caching, "content-type": kind})

    return Route("/v1/log/{file:path}", log)
