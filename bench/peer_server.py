"""Peers of `bench server`: PyPI voprf behind the same application, and behind the leanest possible one.

`python -m bench.peer_server same --data DIR` is `contactsync server serve` whose engine is exchanged: heads,
credentials, quotas, charges and queues are the same. `python -m bench.peer_server lean` is an ASGI
application of a few lines, which knows no credentials and charges nothing. Both say `listening on URL` when
they are ready.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import uvicorn
from voprf import ristretto

from contactsync.voprf.suite import NE

_EVALUATOR = ristretto.Evaluator.from_seed(b"1" * 32, b"bench")


def evaluate(body: bytes) -> bytes:
    """The evaluated elements of a batch, and the proof."""
    blinded = [ristretto.BlindedInput.deserialize(body[i : i + NE]) for i in range(0, len(body), NE)]
    reply: bytes = _EVALUATOR.evaluate_batch(blinded).serialize()
    return reply


def _pair(blinded: Any) -> tuple[Any, bytes]:
    """The same for a batch uint8[n, 32], as our engine returns it."""
    reply = evaluate(blinded.tobytes())
    n = len(blinded)
    return np.frombuffer(reply[: n * NE], np.uint8).reshape(n, NE), reply[n * NE :]


def exchange_engine() -> None:
    """Have the application use the peer, which decodes, evaluates and proves in one call."""
    from contactsync.ristretto255 import decode
    from contactsync.server import evaluation
    from contactsync.server.http import together

    base, _ = decode(np.zeros((1, NE), np.uint8))

    def not_decoded(batches: Sequence[Any]) -> list[Any]:
        return [base] * len(batches)

    def together_evaluated(_key: object, batches: Sequence[tuple[Any, Any]]) -> list[Any]:
        return [_pair(blinded) for blinded, _ in batches]

    def stages_of_decoding(blinded: Any, account: object = None) -> Any:
        yield from ()
        return evaluation.DecodedBatch(blinded, (), account)

    def stages_of_evaluation(_key: object, batch: evaluation.DecodedBatch) -> Any:
        found: list[Any] = []
        yield [lambda: found.append(_pair(batch.blinded))]
        return found[0]

    for module, name, instead in (
        (together, "decode_batches", not_decoded),
        (together, "blind_evaluate_batches", together_evaluated),
        (evaluation, "_decode", stages_of_decoding),
        (evaluation, "_evaluate_decoded", stages_of_evaluation),
    ):
        assert hasattr(module, name)
        setattr(module, name, instead)


async def leanest(scope: Any, receive: Any, send: Any) -> None:
    """Any request is a batch."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    reply = evaluate(body)
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"%d" % len(reply)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply})


def main(arguments: Sequence[str]) -> None:
    """Run one of them."""
    if arguments[0] == "same":
        from contactsync.commands import main as contactsync

        exchange_engine()
        sys.argv[1:] = ["server", "serve", "--port", "0", *arguments[1:]]
        contactsync()
    else:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(
            leanest, http="httptools", lifespan="off", access_log=False, log_config=None, ws="none"
        )
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1:])
