"""What sets another's beginning of a run apart from ours: which field of the model, which file.

The documents that two hashes stand for are asked from the peers that have them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from psyche_p2p.data.manifest import Manifest, decode_manifest, describe_difference
from psyche_p2p.errors import PsycheError
from psyche_p2p.ids import PeerId, SchemaHash, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.model.schema import (
    Schema,
    decode_schema,
    describe_schema_difference,
    schema_hash,
)
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.node.bulk_plane import Told
from psyche_p2p.node.directory import Directory

NOT_TOLD = "it has not told what its data are"
DocumentT = TypeVar("DocumentT")
_log = get_logger(__name__)


class Comparison:
    """Of what we tell others about our run with what they tell us."""

    def __init__(self, ours: Told, client: BulkClient, directory: Directory) -> None:
        self._ours = ours
        self._client = client
        self._directory = directory

    async def describe_schema(self, theirs: SchemaHash) -> str:
        """The first field in which the schema of this hash is not ours; '' if nobody has it."""
        await self._directory.look_patiently()
        return await self._describe_schema(self._doors(), theirs)

    async def describe_data(self, theirs: bytes) -> str:
        """The first file in which the data of this hash is not ours; '' if nobody has it."""
        await self._directory.look_patiently()

        def is_it(manifest: Manifest) -> bool:
            return manifest.digest == theirs

        found = await self._first(self._doors(), self._ask_manifest, is_it)
        return "" if found is None else self._describe_manifest(found)

    async def explain(self, peer: PeerId, schema: SchemaHash) -> str:
        """Why a peer with this schema would begin the run with something else; '' if unknown.

        It may not have been found yet, or not answer: that is said instead.
        """
        door = self._directory.open_doors().get(peer)
        doors = [] if door is None else [door]
        ours = schema_hash(self._ours.model_schema)
        if schema != ours:
            field = await self._describe_schema(doors, schema)
            return "; ".join(
                filter(None, [f"its schema is {schema.hex()}, ours {ours.hex()}", field])
            )
        found = await self._first(doors, self._ask_manifest, lambda _: True)
        return NOT_TOLD if found is None else self._describe_manifest(found)

    def _doors(self) -> Sequence[Contact]:
        return list(self._directory.open_doors().values())

    async def _describe_schema(self, doors: Sequence[Contact], theirs: SchemaHash) -> str:
        found = await self._first(doors, self._ask_schema, lambda it: schema_hash(it) == theirs)
        return "" if found is None else describe_schema_difference(self._ours.model_schema, found)

    def _describe_manifest(self, theirs: Manifest) -> str:
        if not self._ours.manifest:
            return ""  # a witness has no data
        return describe_difference(decode_manifest(self._ours.manifest, "our own"), theirs)

    async def _ask_schema(self, contact: Contact) -> Schema:
        encoded = await self._client.schema(contact, self._ours.run_id)
        return decode_schema(encoded, f"the schema of {short_id(contact.peer)}")

    async def _ask_manifest(self, contact: Contact) -> Manifest:
        encoded = await self._client.data_files(contact, self._ours.run_id)
        return decode_manifest(encoded, f"the manifest of {short_id(contact.peer)}")

    async def _first(
        self,
        doors: Sequence[Contact],
        ask: Callable[[Contact], Awaitable[DocumentT]],
        is_it: Callable[[DocumentT], bool],
    ) -> DocumentT | None:
        """The document, from the first peer that gives it and nothing else."""
        for contact in doors:
            try:
                document = await ask(contact)
            except PsycheError as error:
                _log.debug("no such document", peer=short_id(contact.peer), cause=str(error))
                continue
            if is_it(document):
                return document
        return None
