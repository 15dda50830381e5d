"""What the log says of the breakers: a line when one changes its state, and none in between."""

from __future__ import annotations

import logging

from contactsync.server.breakers import CROWDS, Breakers, BreakerState, Crowd, Flow, sentence
from contactsync.server.quota import STEP

log = logging.getLogger("contactsync.server")


class Alarms:
    """Remembers what was said, and says what is new."""

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers
        self._said: dict[Crowd, BreakerState] = dict.fromkeys(CROWDS, BreakerState.QUIET)

    def look(self, flow: Flow) -> None:
        """Log each change. A breaker is quiet again only when it is below its alarm."""
        for crowd in CROWDS:
            before, now = self._said[crowd], flow.state(crowd, self._breakers, asked=STEP)
            if now is before or (before is BreakerState.STOPPED and now is BreakerState.ALARM):
                continue
            self._said[crowd] = now
            said = sentence(crowd, flow, self._breakers)
            if now is BreakerState.STOPPED:
                log.error("evaluations are paused: %s; see `server accounts suspicious`", said)
            elif now is BreakerState.ALARM:
                log.warning("alarm: %s; see `server accounts suspicious`", said)
            else:
                log.warning("the alarm is over: %s", said)
