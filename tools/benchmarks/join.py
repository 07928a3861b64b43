"""How fast a late joiner gets the model: real peers' bulk planes, with honest and other donors.

    tools/bench join                                 # all cases: 400 MB from 4 donors (needs root)
    tools/bench join --case loopback --case liar --set model.num_layers=1

Cases: `link` (the newcomer's link is the limit), `uplinks` (the donors' are: from four against
from one), `loopback` (nothing is, beside raw gRPC), `liar`, `killed` and `frozen` (one donor, half
way, on the newcomer's link: extra seconds against `link`), `asleep` (one is frozen from the
beginning), `resumed` (the newcomer is killed half way), `training` (a step loop on the core of the
one donor that serves), and `updates` (a member fetches an update from a donor whose uplink a
newcomer fills, or half of which it may fill). With `--check`, exit code 1 if a bar is missed.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import click
from localnet_parts.plan import Plan, make_run_config, write_run_file
from wan_emulation.profile import PathProfile

from benchmarks.joins import scene as scenes
from benchmarks.joins.scene import Child, Joined, Scene
from benchmarks.joins.training import Training
from benchmarks.joins.world import World
from benchmarks.report import report
from benchmarks.transfer.ends import Contender
from psyche_p2p.config import load_run_config
from psyche_p2p.net.swarm_plan import PlanRules

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
DONORS = 4
BARS = {
    "join.link_share": 0.8,
    "join.four_vs_one": 2.5,
    "join.extra_liar": PlanRules().stall_s,
    "join.extra_killed": PlanRules().stall_s,
    "join.extra_frozen": PlanRules().stall_s,
    "join.extra_asleep": PlanRules().stall_s,
}
_UPPER = tuple(figure for figure in BARS if figure.startswith("join.extra_"))
_RAW_MIB, _RAW_TURNS = 256, 3
_UPDATES = 9
_A_WHILE = 10  # chunks


@dataclass
class Bench:
    """The cases, each in a scene of its own."""

    world: World
    folder: Path
    link_mbit: float
    uplink_mbit: float
    delay_ms: float
    missed: list[str] = field(default_factory=list)
    link_seconds: float = float("nan")
    donor_core, other_core = 0, 1

    def link(self) -> None:
        with self._behind_link() as scene:
            scene.start_donors()
            joined = scene.join()
        self.link_seconds = joined.seconds
        share = 8 * joined.size_bytes / joined.seconds / (self.link_mbit * 1e6)
        self._report("join.link_share", share, "", joined, mbit=self.link_mbit)
        counts = joined.given.values()
        spread = max(counts) / min(counts) if len(counts) == DONORS else float("inf")
        self._report("join.spread", spread, "most/least", joined)

    def uplinks(self) -> None:
        links = [self._profile(), *[self._profile(up_mbit=self.uplink_mbit)] * DONORS]
        with Scene(self.world, self.folder / "uplinks", DONORS, links) as scene:
            scene.start_donors()
            four = scene.join()
            scene.forget()
            one = scene.join(from_first=1)
        share = 8 * four.size_bytes / four.seconds / (DONORS * self.uplink_mbit * 1e6)
        self._report("join.uplinks_share", share, "", four, mbit=self.uplink_mbit)
        self._report("join.four_vs_one", one.seconds / four.seconds, "times", one)

    def loopback(self) -> None:
        with Scene(self.world, self.folder / "loopback", DONORS) as scene:
            scene.start_donors()
            for _ in range(_RAW_TURNS):
                joined = scene.join()
                scene.forget()
                self._report(
                    "join.loopback", joined.size_bytes / joined.seconds / 1e6, "MB/s", joined
                )
        blob = os.urandom(_RAW_MIB << 20)
        raw = self.folder / "raw"
        raw.mkdir()
        with Contender("benchmarks.transfer.raw_grpc", raw, blob) as contender:
            contender.fetch_s()
            seconds = sorted(contender.fetch_s() for _ in range(_RAW_TURNS))
        report("join.raw_grpc", round(len(blob) / seconds[len(seconds) // 2] / 1e6), "MB/s")

    def liar(self) -> None:
        half_of_its_share = self.world.offer().size_bytes // (1 << 20) // DONORS // 2
        with self._behind_link() as scene:
            scene.start_donors(liar_after=half_of_its_share)
            self._report_extra("join.extra_liar", scene.join())

    def killed(self) -> None:
        self._disturb("join.extra_killed", scenes.kill)

    def frozen(self) -> None:
        self._disturb("join.extra_frozen", scenes.freeze)

    def asleep(self) -> None:
        with self._behind_link() as scene:
            scene.start_donors()
            scenes.freeze(scene.donors[0].child)
            self._report_extra("join.extra_asleep", scene.join())

    def resumed(self) -> None:
        with Scene(self.world, self.folder / "resumed", DONORS) as scene:
            scene.start_donors()
            scene.join(half_way=scenes.kill)
            joined = scene.join()
        again = sum(joined.given.values())
        self._report("join.resumed_fetched", again, "chunks", joined)

    def training(self) -> None:
        """One donor gives everything, on the core on which it trains, at the rate of the link.

        The emulated link costs the sender's kernel more than a network card does, loopback less.
        """
        rate = self.link_mbit * 1e6 / 8
        self._train(self._behind_link(1), None, "link")
        self._train(Scene(self.world, self.folder / "scene", 1), rate, "loopback")

    def _train(self, scene: Scene, bytes_per_s: float | None, over: str) -> None:
        with scene, Training(self.folder, self.donor_core) as training:
            scene.start_donors(core=self.donor_core, bytes_per_s=bytes_per_s)
            if scene.switch_pid is not None:
                os.sched_setaffinity(scene.switch_pid, {self.other_core})
            before = training.rate()
            cpu_s = self._spent_s(scene)
            with training.measured() as during:
                joined = scene.join(core=self.other_core)
            cpu_s = self._spent_s(scene) - cpu_s
            after = training.rate()
        alone = (before + after) / 2
        details = {"drift": round(after / before - 1, 3), "donor_cpu_s": round(cpu_s, 2)}
        figure = f"join.training_slower_{over}"
        self._report(figure, 1 - during.rate / alone, "", joined, **details)

    def updates(self) -> None:
        """Seconds in which an update comes through an uplink that a newcomer uses, too."""
        links = [self._profile(), self._profile(up_mbit=self.uplink_mbit), self._profile()]
        for name, bytes_per_s in (("unlimited", None), ("half", self.uplink_mbit * 1e6 / 16)):
            with Scene(self.world, self.folder / "scene", 1, links) as scene:
                scene.start_donors(bytes_per_s=bytes_per_s)
                follower = scene.start_follower()
                alone = _median_s(follower)
                newcomer = scene.start_newcomer()
                while (newcomer.read() or {}).get("chunks_here", _A_WHILE) < _A_WHILE:
                    pass  # until the flow is in full swing
                beside = _median_s(follower)
            report(f"join.update_alone_{name}", round(alone, 3), "s", mbit=self.uplink_mbit)
            report(f"join.update_beside_{name}", round(beside, 3), "s", mbit=self.uplink_mbit)

    def _disturb(self, figure: str, act: Callable[[Child], None]) -> None:
        with self._behind_link() as scene:
            scene.start_donors()
            self._report_extra(figure, scene.join(half_way=lambda _: act(scene.donors[0].child)))

    def _report_extra(self, figure: str, joined: Joined) -> None:
        self._report(figure, joined.seconds - self.link_seconds, "s", joined)

    def _behind_link(self, donors: int = DONORS) -> Scene:
        links = [self._profile(down_mbit=self.link_mbit), *[self._profile()] * donors]
        return Scene(self.world, self.folder / "scene", donors, links)

    def _profile(self, up_mbit: float | None = None, down_mbit: float | None = None) -> PathProfile:
        return PathProfile(delay_ms=self.delay_ms, up_mbit=up_mbit, down_mbit=down_mbit)

    def _spent_s(self, scene: Scene) -> float:
        return float(scene.donors[0].child.ask()["cpu_s"])

    def _report(
        self, figure: str, value: float, unit: str, joined: Joined, **details: float
    ) -> None:
        report(
            figure,
            round(value, 3),
            unit,
            seconds=round(joined.seconds, 2),
            arrived_s=round(joined.arrived_s, 2),
            cpu_s=round(joined.cpu_s, 2),
            given=joined.given,
            here_at_first=joined.here_at_first,
            load=round(os.getloadavg()[0], 1),
            **details,
        )
        bar = BARS.get(figure)
        if bar is not None and not (value <= bar if figure in _UPPER else value >= bar):
            self.missed.append(f"{figure} is {value:.3f}, the bar is {bar}")


def _median_s(follower: Child) -> float:
    """Of several fetches, after one that connects."""
    follower.ask()
    return statistics.median(float(follower.ask()["seconds"]) for _ in range(_UPDATES))


_NEED_LINK = {"liar", "killed", "frozen", "asleep"}
CASES = (
    "link",
    "uplinks",
    "loopback",
    "liar",
    "killed",
    "frozen",
    "asleep",
    "resumed",
    "training",
    "updates",
)


@click.command(help=__doc__, epilog="Example: tools/bench join --case link --link-mbit 100")
@click.option("--case", "cases", multiple=True, type=click.Choice(CASES), default=CASES)
@click.option("--link-mbit", type=float, default=200.0, show_default=True, help="The newcomer's.")
@click.option("--uplink-mbit", type=float, default=50.0, show_default=True, help="A donor's.")
@click.option("--delay-ms", type=float, default=20.0, show_default=True, help="One way.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=ROOT / "configs" / "llama-100m.toml",
    help="The run's configuration.  [default: configs/llama-100m.toml]",
)
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Of the run.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("/dev/shm"),
    show_default=True,
    help="Where all stores are, some 1 GB: a RAM disk, or a disk.",
)
@click.option("--check", is_flag=True, help="Fail if a bar is missed.")
def bench(
    cases: tuple[str, ...],
    link_mbit: float,
    uplink_mbit: float,
    delay_ms: float,
    config: Path,
    changes: tuple[str, ...],
    folder: Path,
    check: bool,
) -> int:
    with ExitStack() as stack:
        made = Path(tempfile.mkdtemp(prefix="psyche-join-", dir=folder))
        stack.callback(shutil.rmtree, made, ignore_errors=True)
        world = _make_world(made / "world", config, changes)
        run = Bench(world, made, link_mbit, uplink_mbit, delay_ms)
        wanted = {*cases, "link"} if _NEED_LINK & set(cases) else {*cases}
        for name in CASES:
            if name in wanted:
                getattr(run, name)()
    for problem in run.missed:
        print(f"MISSED {problem}", file=sys.stderr)
    return int(check and bool(run.missed))


def main(arguments: list[str]) -> int:
    return int(bench.main(args=arguments, prog_name="tools/bench join", standalone_mode=False))


def _make_world(folder: Path, config: Path, changes: tuple[str, ...]) -> World:
    """In a process of its own: this one must stay without torch, to leave the cores alone."""
    folder.mkdir()
    plan = Plan((0,) * DONORS, 0, 0, None, None, 0.0, None, ())
    run_file = folder / "run.toml"
    made = make_run_config(load_run_config(config), plan, None, False, changes)
    write_run_file(made, run_file)
    names = [f"donor {number}" for number in range(DONORS)]
    module = [sys.executable, "-m", "benchmarks.joins.snapshot", str(folder), str(run_file)]
    path = os.pathsep.join([str(TOOLS), str(ROOT)])
    subprocess.run([*module, *names], check=True, env={**os.environ, "PYTHONPATH": path})
    world = World(folder)
    told = world.told()
    report("join.snapshot", round(float(told["seconds"]), 2), "s", size_bytes=told["size_bytes"])
    return world
