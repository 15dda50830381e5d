"""The client's half of the protocol for a few points, without the engine.

Loading the engine takes a third of a second, more than all the rest of a sync that has no news. So a round of
the smallest size is blinded here, and its proof is verified here, whether there is a contact in it or not: a
server cannot tell the one from the other by the time that something took. Larger rounds take the engine.

`blind` is constant time: numpy over whole arrays, without a branch or an index that depends on a value.
`proof_holds_vartime` takes public data alone.
"""

from __future__ import annotations

from contactsync.voprf.few.blind import blind
from contactsync.voprf.few.proof_vartime import proof_holds_vartime

__all__ = ["blind", "proof_holds_vartime"]
