"""Any command in any phase from anyone: accepted, or rejected with a reason and without a trace."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import Phase as Effort
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from psyche_p2p.coordinator import (
    AnyCommand,
    apply,
    committee_at,
    decode_state,
    due_commands,
    encode_state,
    validate,
)
from psyche_p2p.coordinator.ledger import total_points
from psyche_p2p.coordinator.pool import make_close_round
from psyche_p2p.coordinator.transition import apply_command
from psyche_p2p.errors import Rejected
from psyche_p2p.identity import verify
from psyche_p2p.ids import BlockHash, EpochIndex, Height, ParamRoot, PeerId, View
from psyche_p2p.wire import Block, Phase, Vote, VoteStep, Withdraw, encode
from psyche_p2p.wire.commands import (
    BeginTraining,
    CloseEpoch,
    EjectForVotes,
    Obey,
    OpenEpoch,
    Release,
)
from psyche_p2p.wire.messages import OwnerAction, OwnerOrder
from tests.coordinator.mutation import mutate
from tests.coordinator.world import World, admit, identity, make_config, make_join

OWNER = identity(9)
CONFIG = make_config(
    run={"total_rounds": 9, "owner": OWNER.peer_id},
    members={"min_members": 2, "init_min_members": 2, "max_members": 7},
    rounds={"epoch_s": 300.0, "equal_batches": False},
    verification={"verification_percent": 50},
    distillation={"enabled": True, "targets_wait_s": 30.0},
)
people = st.integers(1, 9).map(lambda index: identity(index).peer_id)


def can_travel(message: Block | AnyCommand) -> bool:
    """Whether it has bytes at all: what has none cannot come from anyone."""
    try:
        encode(message)
    except ValueError:
        return False
    return True


class AnyCommandInAnyPhase(RuleBasedStateMachine):
    """A run among honest peers, into which someone keeps throwing things."""

    def __init__(self) -> None:
        super().__init__()
        joins = {index: make_join(tier=index % 3) for index in range(1, 5)}
        self.world = World.start(CONFIG, joins)
        self.samples: dict[int, range] = {}

    @rule(steps=st.integers(1, 6))
    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            if not self.world.step():
                self.world.wait(5)

    @rule(seconds=st.sampled_from([0.0, 1.0, 61.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(peer=people)
    def die_or_return(self, peer: PeerId) -> None:
        self.world.dead ^= {peer}

    @rule(peer=people)
    def teach_badly_or_well(self, peer: PeerId) -> None:
        self.world.bad_teachers ^= {peer}

    @rule(peer=people, nonce=st.integers(0, 5), tier=st.integers(0, 4))
    def join(self, peer: PeerId, nonce: int, tier: int) -> None:
        join = make_join(nonce=nonce, tier=tier)
        self.offer(admit(self.world.people[peer], join, self.world.run_id))

    @rule(peer=people, epoch=st.integers(0, 3), nonce=st.integers(0, 5))
    def withdraw(self, peer: PeerId, epoch: int, nonce: int) -> None:
        said = self.world.say(peer, Withdraw(EpochIndex(epoch), "", nonce))
        self.offer(Release(peer, said.message, said.signature))

    @rule(peer=st.sampled_from([OWNER.peer_id, OWNER.peer_id, identity(1).peer_id]), data=st.data())
    def order(self, peer: PeerId, data: st.DataObject) -> None:
        action = data.draw(st.sampled_from(list(OwnerAction)))
        nonce = self.world.state.owner_nonce + data.draw(st.integers(0, 1))
        said = self.world.say(peer, OwnerOrder(action, nonce))
        self.offer(Obey(said.message, said.signature))

    @rule(peer=people, is_true=st.booleans())
    def accuse(self, peer: PeerId, is_true: bool) -> None:
        first = Vote(Height(1), View(0), VoteStep.PREVOTE, None)
        second = replace(first, block_hash=BlockHash(bytes(32)) if is_true else None)
        said, again = self.world.say(peer, first), self.world.say(peer, second)
        self.offer(EjectForVotes(peer, first, said.signature, second, again.signature))

    @rule(epoch=st.integers(0, 3))
    def hurry(self, epoch: int) -> None:
        """Commands of every phase with nothing in them."""
        about = EpochIndex(epoch)
        self.offer(OpenEpoch(about))
        self.offer(BeginTraining(about, (), ()))
        self.offer(CloseEpoch(about, (ParamRoot(bytes(32)),) * 3, ()))

    @precondition(lambda self: self.world.state.head_round is not None)
    @rule()
    def close_now(self) -> None:
        opened = self.world.state.head_round
        assert opened is not None
        self.offer(make_close_round(self.world.state, opened, self.world.heard()))

    @rule(data=st.data())
    def tamper_with_what_is_due(self, data: st.DataObject) -> None:
        commands = due_commands(self.world.state, self.world.heard(), self.world.clock_ms)
        if commands:
            self.offer(mutate(data.draw, data.draw(st.sampled_from(commands))))

    @rule(data=st.data())
    def tamper_with_a_block(self, data: st.DataObject) -> None:
        commands = due_commands(self.world.state, self.world.heard(), self.world.clock_ms)
        if not commands:
            return
        block: Block = mutate(data.draw, self.world.propose(commands))
        if not can_travel(block):
            return
        faults, before = validate(self.world.state, block), encode_state(self.world.state)
        try:
            self.world.state = apply(self.world.state, block)
        except Rejected:
            assert faults
            assert encode_state(self.world.state) == before
        else:
            assert not faults

    def offer(self, command: AnyCommand) -> None:
        """Both ways in: the command alone, and in a block whose header is good."""
        if not can_travel(command):
            return
        before = encode_state(self.world.state)
        at_now = replace(self.world.state, time_ms=self.world.clock_ms)
        try:
            apply_command(at_now, command, verify)
            is_acceptable = True
        except Rejected:
            is_acceptable = False
        try:
            self.world.decide(command)
        except Rejected:
            assert not is_acceptable
            assert encode_state(self.world.state) == before

    @invariant()
    def state_survives_its_bytes(self) -> None:
        assert decode_state(encode_state(self.world.state), CONFIG) == self.world.state

    @invariant()
    def points_are_conserved(self) -> None:
        totals = total_points(self.world.state)
        assert totals["issued"] == totals["settled"] + totals["pending"] + totals["forfeited"]

    @invariant()
    def somebody_can_decide(self) -> None:
        assert committee_at(self.world.state)

    @invariant()
    def rounds_follow_each_other_and_share_no_sample(self) -> None:
        state = self.world.state
        rounds = [one.round for one in state.open_rounds]
        assert rounds == list(range(state.closed_count, state.next_round))
        assert bool(rounds) == (state.phase is Phase.TRAIN)
        for one in state.open_rounds:
            batches = [slot.batch for slot in one.slots]
            taken = range(batches[0].start, batches[-1].end)
            assert self.samples.setdefault(one.round, taken) == taken
            earlier = self.samples.get(one.round - 1)
            assert earlier is None or earlier.stop <= taken.start
            assert taken.stop <= state.data_index


TestAnyCommandInAnyPhase = AnyCommandInAnyPhase.TestCase
# Every step signs and hashes: shrinking would take minutes. The failing steps are printed anyway.
TestAnyCommandInAnyPhase.settings = settings(
    stateful_step_count=40, phases=[Effort.explicit, Effort.reuse, Effort.generate]
)
