"""Where witnesses are asked, and what each has last said: `log/witnesses.json` in the data folder.

```
{"format": "contactsync-witnesses-1",
 "witnesses": [{"vkey": "...", "url": "https://…", "size": 12, "at": "2026-07-01T09:30:00+00:00",
                "failed": ""}]}
```

`size` is what the witness has last cosigned, and `at` when; `failed` says why it did not the last time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Self

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.publication.log.notes import Verifier
from contactsync.server.settings import DataFolder
from contactsync.server.witnessed.collecting import Collected, WitnessPlace

FORMAT: Final = "contactsync-witnesses-1"
_FILE: Final = "witnesses.json"


@dataclass(slots=True)
class KnownWitnesses:
    """By their keys as text."""

    places: dict[str, WitnessPlace] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: DataFolder) -> Self:
        """Those of a data folder. Raises OurError: damaged."""
        path = folder.log / _FILE
        try:
            body = json.loads(path.read_bytes())
            if body["format"] != FORMAT:
                raise OurError(f"a newer contactsync wrote {path}", hint="update contactsync")
            return cls(
                {
                    Verifier.parse(one["vkey"]).vkey(): WitnessPlace(
                        str(one["url"]), int(one["size"]), str(one["at"]), str(one["failed"])
                    )
                    for one in body["witnesses"]
                }
            )
        except FileNotFoundError:
            return cls()
        except (
            *(ValueError, KeyError, TypeError, AttributeError),
            *(OverflowError, RecursionError, BadInput),
        ) as error:
            raise OurError(
                f"{path} is damaged", hint="delete it, then give each address again: `server log add-witness`"
            ) from error

    def of(self, witness: Verifier) -> WitnessPlace | None:
        """Where to ask one; None if nobody knows."""
        return self.places.get(witness.vkey())

    def put(self, witness: Verifier, url: str) -> None:
        """Ask a witness here from now on."""
        before = self.of(witness) or WitnessPlace(url)
        self.places[witness.vkey()] = replace(before, url=url)

    def drop(self, witness: Verifier) -> None:
        """Forget a witness."""
        self.places.pop(witness.vkey(), None)

    def heard(self, answers: Iterable[Collected]) -> None:
        """Remember what was said."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for one in answers:
            place = self.of(one.witness)
            if place is not None and one.failure:
                self.places[one.witness.vkey()] = replace(place, failed=one.failure)
            elif place is not None:
                self.places[one.witness.vkey()] = replace(place, size=one.size, at=now, failed="")

    def write(self, folder: DataFolder) -> None:
        """Keep them."""
        witnesses = [
            {"vkey": vkey, "url": one.url, "size": one.size, "at": one.at, "failed": one.failed}
            for vkey, one in sorted(self.places.items())
        ]
        durable.private_folder(folder.log)
        body = json.dumps({"format": FORMAT, "witnesses": witnesses}, indent=1)
        durable.write(folder.log / _FILE, body.encode())
