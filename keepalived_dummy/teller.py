# SPDX-License-Identifier: MIT
"""Tells events to the journal, and keeps count of them for state.json."""

import time

from keepalived_dummy import journald, state
from keepalived_dummy.events import KINDS, Event


class Teller:
    """How often each kind of event was told, and the last one; times are seconds since 1970."""

    def __init__(self) -> None:
        self._native = journald.is_ours()
        self.counts: dict[str, int] = {}
        self.last = ""
        self.at = 0.0
        self.told = False  # something since this was last set to False

    def tell(self, event: Event) -> None:
        """To the journal with its fields, else as a line on standard error."""
        self.counts[event.kind] = self.counts.get(event.kind, 0) + 1
        self.last, self.at, self.told = event.text, time.time(), True
        kind = KINDS[event.kind]
        fields = (
            ("MESSAGE", event.text),
            ("MESSAGE_ID", kind.id),
            ("PRIORITY", str(kind.priority)),
            ("EVENT", event.kind),
            *event.fields,
        )
        if not (self._native and journald.send(fields)):
            state.log(kind.priority, event.text)
