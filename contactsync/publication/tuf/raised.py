"""What python-tuf raises, as errors of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from tuf.api import exceptions

from contactsync.foundation.errors import BadSignature, ContactSyncError, NetworkError, OurError

CHANGED: Final = "stop here; ask the operator, over another channel, what happened to the server"


@contextlib.contextmanager
def errors_of_tuf() -> Iterator[None]:
    """Everything that tuf raises, as an error of ours."""
    try:
        yield
    except exceptions.RepositoryError as error:
        raise _bad_signature(error) from error
    except exceptions.DownloadError as error:
        raise _download_failed(error) from error
    except OSError as error:
        hint = "check its permissions and the free space"
        where = f" ({error.filename})" if error.filename else ""
        what = f"the state folder cannot be used: {error.strerror or error}{where}"
        raise OurError(what, hint=hint) from error


def _bad_signature(error: exceptions.RepositoryError) -> BadSignature:
    match error:
        case exceptions.ExpiredMetadataError():
            return BadSignature(
                "the server's signed metadata has expired",
                hint="check this machine's clock; if it is right, the operator must run "
                "`contactsync server publish`",
                refusal="expired",
            )
        case exceptions.BadVersionNumberError():
            return BadSignature(
                "the server shows older signed metadata than it did before (rolled back)",
                hint=CHANGED,
                refusal="rolled-back",
            )
        case exceptions.UnsignedMetadataError():
            return BadSignature(
                "the server's metadata is not signed by the keys that the pinned root names",
                hint="if the operator has replaced all keys, compare the new fingerprint with them, "
                "then run `contactsync trust URL --replace`",
                refusal="bad-signature",
            )
        case exceptions.LengthOrHashMismatchError():
            return BadSignature(
                "a file of the server is not the one that was signed", hint=CHANGED, refusal="bad-hash"
            )
        case _:
            return BadSignature(
                "the server's metadata is malformed or contradicts itself", hint=CHANGED, refusal="malformed"
            )


def _download_failed(error: exceptions.DownloadError) -> ContactSyncError:
    match error:
        case exceptions.DownloadLengthMismatchError():
            return BadSignature(
                "a file of the server is longer than what was signed", hint=CHANGED, refusal="too-large"
            )
        case exceptions.DownloadHTTPError() if error.status_code in {404, 503}:
            return NetworkError(
                "the server has published nothing yet, or is not a contactsync server",
                hint="check the address; an operator publishes with `contactsync server publish`",
            )
        case exceptions.DownloadHTTPError():
            return NetworkError(
                f"the server answered its metadata with status {error.status_code}", hint="try again later"
            )
        case _ if isinstance(error.__cause__, ContactSyncError):
            return error.__cause__
        case _:
            return NetworkError(
                "the server's metadata could not be fetched",
                hint="check the address and the network, and try again",
            )
