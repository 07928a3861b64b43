"""A directory of people whose addresses a test knows: nobody is looked for."""

from __future__ import annotations

from collections.abc import Iterable

from psyche_p2p.ids import PeerId
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.node.directory import Directory


class Doors(Directory):
    """Who answers newcomers, in this order."""

    def __init__(self, contacts: Iterable[Contact]) -> None:
        self._contacts = {contact.peer: contact for contact in contacts}

    def open_doors(self) -> dict[PeerId, Contact]:
        return dict(self._contacts)

    async def look(self) -> None:
        pass

    async def look_patiently(self) -> None:
        pass
