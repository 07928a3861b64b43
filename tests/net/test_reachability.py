"""The verdict on reachability: two agreeing answers, one line, and what to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.identity import Identity
from psyche_p2p.net.reachability import Answer, Reach, decide_reachability, is_decided
from psyche_p2p.wire.reachability import DialBackReport, DialOutcome, PortOutcome
from tests import strategies as our

PORT = 4001
HELPERS = [Identity.from_seed(bytes([n]) * 32).peer_id for n in range(5)]
R, F, T, S = (
    DialOutcome.REACHED,
    DialOutcome.REFUSED,
    DialOutcome.TIMED_OUT,
    DialOutcome.SOMEONE_ELSE,
)


def said(*outcomes: DialOutcome | None, hosts: tuple[str, ...] = ("8.8.4.4",)) -> list[Answer]:
    """What the helpers found, in turn, on our port; None for no answer."""
    reports = [
        None
        if outcome is None
        else DialBackReport(hosts[n % len(hosts)], (PortOutcome(PORT, outcome),))
        for n, outcome in enumerate(outcomes)
    ]
    return [Answer(HELPERS[n], report) for n, report in enumerate(reports)]


@pytest.mark.parametrize(
    ("answers", "reach", "line"),
    [
        (
            said(R, R),
            Reach.REACHABLE,
            "others can reach this machine: 2 of 2 peers could connect to 8.8.4.4:4001",
        ),
        (said(None, R), Reach.REACHABLE, "1 of 1 peers could connect to 8.8.4.4:4001"),
        (said(R, F, R), Reach.REACHABLE, "2 of 3 peers"),
        (said(R, R, hosts=("192.168.1.5",)), Reach.REACHABLE, "peers on the same network"),
        (said(R, R, hosts=("100.64.3.5",)), Reach.REACHABLE, "peers on the same network"),
        (said(R, R, hosts=("8.8.4.4", "8.8.8.8")), Reach.REACHABLE, "8.8.4.4 and 8.8.8.8"),
        (said(R, R, hosts=("2001:4860::7",)), Reach.REACHABLE, "[2001:4860::7]:4001"),
        (said(F, F), Reach.UNREACHABLE, "refused); forward TCP port 4001 on your router"),
        (said(T, T), Reach.UNREACHABLE, "time out); open TCP port 4001 in the firewall"),
        (said(S, S), Reach.UNREACHABLE, "someone else answers there); 8.8.4.4 port 4001 leads"),
        (said(R, T), Reach.UNKNOWN, "cannot tell whether others reach this machine: 1 of 2"),
        (said(None, None), Reach.UNKNOWN, "none of 2 peers answered; others will use a relay"),
        ([], Reach.UNKNOWN, "there was nobody to ask"),
    ],
)
def test_the_verdict_is_one_line_with_a_cure(
    answers: list[Answer], reach: Reach, line: str
) -> None:
    verdict = decide_reachability(answers, PORT)
    assert verdict.reach is reach
    assert line in str(verdict)
    assert "\n" not in str(verdict)
    assert verdict.needs_relay == (reach is not Reach.REACHABLE)
    assert verdict.cure or reach is Reach.REACHABLE


def test_one_peer_that_answers_twice_counts_once() -> None:
    twice = [said(R)[0], said(R)[0]]
    assert not is_decided(twice, PORT)


def test_a_report_on_another_port_is_no_answer() -> None:
    report = DialBackReport("8.8.4.4", (PortOutcome(PORT + 1, R),))
    assert decide_reachability([Answer(HELPERS[0], report)], PORT).reach is Reach.UNKNOWN


answers = st.lists(
    st.builds(
        Answer,
        helper=st.sampled_from(HELPERS),
        report=st.none()
        | st.builds(
            DialBackReport,
            observed_host=st.sampled_from(["8.8.4.4", "10.0.0.1", "::1"]) | our.texts,
            outcomes=our.tuples_of(
                st.builds(
                    PortOutcome,
                    port=st.sampled_from([PORT, 1]),
                    outcome=st.sampled_from(DialOutcome),
                )
            ),
        ),
    ),
    max_size=6,
)


@given(answers)
def test_any_answers_give_a_verdict_and_one_liar_never_decides(
    given_answers: list[Answer],
) -> None:
    verdict = decide_reachability(given_answers, PORT)
    first: dict[str, DialOutcome] = {}
    for answer in given_answers:
        outcome = answer.outcome(PORT)
        if outcome is not None:
            first.setdefault(answer.helper, outcome)
    reached = {helper for helper, outcome in first.items() if outcome is R}
    failed = first.keys() - reached
    assert str(verdict).isprintable()
    if verdict.reach is Reach.UNREACHABLE:
        assert failed
    if verdict.reach is Reach.REACHABLE:
        assert reached
        assert len(reached) >= 2 or not failed
