"""Who is in a local network: every peer's home, its key, and the command that starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from wan_emulation.wan import Wan

from localnet_parts.peer import Peer
from localnet_parts.plan import Plan, identity_of, write_run_file
from localnet_parts.tally import Tally
from psyche_p2p.config import RunConfig
from psyche_p2p.ids import PeerId
from psyche_p2p.keyfile import save_key

KEY_FILE = "peer.key"
RUN_FILE = "run.toml"
_LOOPBACK = "127.0.0.1"


class Cast:
    """The peers of one network.

    The first peer is given the run's file and no address; every other one the first peer's address
    and the run's name, and nothing else, as a newcomer on another machine would be.
    """

    def __init__(
        self,
        plan: Plan,
        config: RunConfig,
        folder: Path,
        wan: Wan | None,
        programs: Mapping[int, Sequence[str]] | None = None,
        words: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        """`programs` and `words`: what starts a peer instead, and what it is told besides."""
        self._plan = plan
        self._config = config
        self._folder = folder
        self._wan = wan
        self._programs = programs or {}
        self._words = words or {}
        self.peers: list[Peer] = []

    def assemble(self) -> list[Peer]:
        """Everyone, with a home and a key, and not started yet."""
        write_run_file(self._config, self._folder / RUN_FILE)
        self.peers = [self._make_peer(number) for number in range(self._plan.peers)]
        return self.peers

    def add(self, tier: int) -> Peer:
        """Another trainer, which has never been here."""
        peer = self._make_trainer(len(self.peers), tier)
        self.peers.append(peer)
        return peer

    def start(self, peer: Peer) -> None:
        """Start a peer, for the first time or again."""
        command = self._command(peer)
        if self._wan is not None:
            command = self._wan.command(peer.number, command)
        peer.start(command)

    def _make_peer(self, number: int) -> Peer:
        tiers = self._plan.tiers
        if number < len(tiers):
            return self._make_trainer(number, tiers[number])
        home, peer = self._make_home(number)
        return Peer(number, Tally(peer, 0, "witness"), home)

    def _make_trainer(self, number: int, tier: int) -> Peer:
        home, peer = self._make_home(number)
        return Peer(number, Tally(peer, tier, "trainer"), home)

    def _make_home(self, number: int) -> tuple[Path, PeerId]:
        home = self._folder / f"peer{number}"
        home.mkdir()
        identity = identity_of(self._plan.seed, number)
        save_key(identity, home / KEY_FILE)
        return home, identity.peer_id

    def _command(self, peer: Peer) -> list[str]:
        host = self._wan.addresses[peer.number] if self._wan is not None else _LOOPBACK
        words = ["--home", str(peer.home), "--listen", f"{host}:0"]
        words += ["--events", str(peer.events_path), *self._words.get(peer.number, ())]
        others = [other for other in self.peers if other is not peer and other.is_up]
        known = [address for other in others for address in other.tally.addresses]
        words += ["--bootstrap", known[0]] if known else []
        if peer.number > 0:
            words += ["--run", self._config.run.name]
        else:
            words += ["--run-file", str(self._folder / RUN_FILE)]
        program = self._programs.get(peer.number, self._plan.program)
        if peer.tally.role == "witness":
            return [*program, "witness", *words]
        words += ["--tier", str(peer.tally.tier), "--threads", str(self._plan.threads)]
        if self._plan.data_dir is not None:
            words += ["--data-dir", str(self._plan.data_dir)]
        return [*program, "start", *words]
