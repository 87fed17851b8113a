"""How fast a learner on the job reacts: an episode's way into batches, a policy's way to an actor, and what waiting costs.

    python benchmarks/online_pace.py            state (Cal-QL at AntMaze size) and pictures (PTR, small encoder, 64 px), about 3 minutes
    python benchmarks/online_pace.py --quick    a few episodes each

`robot-pt online` runs as a user starts it, in a maze. Reaction: from the moment an episode is whole on disk, while the learner is
busy updating, to its line in arrivals.jsonl, after which the next batch draws from it; plus one update. Swap: what an actor spends
on taking a newer version, between two episodes. Waiting: processor time of a learner that owes no update, per second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.machine import describe
from robot_pt.online.actor import LEARNER
from robot_pt.online.hearts import HeartMonitor, Pulse
from robot_pt.schema import Episode
from robot_pt.store import DemoStore
from robot_pt_sim import collect
from robot_pt_sim.simulators import spec_of

TASK = "maze-u"
KINDS = {
    "state": {"cameras": (), "pretrain": ("--camera", "none", "--algorithm", "cal_ql", "--batch-size", "256")},
    "pictures": {"cameras": ("primary",), "pretrain": ("--encoder", "small", "--image-size", "64", "--batch-size", "64")},
}  # fmt: skip
PATIENCE_S = 120.0


def measure(kind: str, episodes: int, root: Path) -> dict[str, Any]:
    """JSON values for one kind of policy; `episodes` per measure."""
    cameras = KINDS[kind]["cameras"]
    recorded = list(_recorded(cameras, episodes + 9))
    _store(root / "data", cameras, recorded[:8])
    words = ("pretrain", "--data", root / "data", "--out", root / "start", "--steps", "2", *KINDS[kind]["pretrain"])
    subprocess.run(_command(*words), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    following, spoken = root / "follow", root / "robot"
    robot = _store(spoken, cameras, recorded[8:9])
    common = ("online", "--from", root / "start", "--data", root / "data")
    with _running(*common, "--out", following, "--actors", "0", "--follow", spoken, "--utd", "1000"):
        updates_s, reaction = _reactions(following, robot, recorded[9 : 9 + episodes])
    idle = root / "idle"
    with _running(*common, "--out", idle, "--actors", "0", "--follow", root / "never", "--warm-up", "0") as process:
        waiting = _cores(idle, process.pid)
    swaps = _swaps(root / "act", common, episodes)
    return {
        "updates_per_s": round(updates_s, 1),
        "reaction_s": _spread([r + 1 / updates_s for r in reaction]),
        "swap_s": _spread(swaps),
        "waiting_cores": round(waiting, 3),
    }


def _reactions(run: Path, store: DemoStore, episodes: list[Episode]) -> tuple[float, list[float]]:
    """(updates per second meanwhile, seconds from whole on disk to joined) with a learner that is never out of updates."""
    first = _pulse(run, lambda pulse: int(pulse.facts.get("updates", 0)) > 0)
    log, out, rng, began = run / "arrivals.jsonl", [], np.random.default_rng(0), time.monotonic()
    for episode in episodes:
        time.sleep(rng.uniform(0.3, 1.3))  # at any moment between two looks
        before = log.stat().st_size
        store.append(episode)
        whole = time.monotonic()
        while log.stat().st_size == before:
            if time.monotonic() - whole > PATIENCE_S:
                raise SystemExit(f"the learner has not seen an episode for {PATIENCE_S:.0f} s; see {run}.")
            time.sleep(0.002)
        out.append(time.monotonic() - whole)
    last = _pulse(run, lambda pulse: pulse.age_s < 1.0)
    done = int(last.facts["updates"]) - int(first.facts["updates"])
    return done / (time.monotonic() - began), out


def _swaps(run: Path, common: tuple[object, ...], episodes: int) -> list[float]:
    """Seconds that an actor spent on each version it took, the first, which warms caches, left out."""
    found: dict[int, float] = {}
    words = (
        *common,
        "--out",
        run,
        "--task",
        TASK,
        "--actors",
        "1",
        "--episodes",
        str(episodes),
        "--utd",
        "0.1",
        "--ahead",
        "0",
    )
    with _running(*words) as process:
        monitor = HeartMonitor(run)
        while process.poll() is None:
            for pulse in monitor.look():
                if pulse.role == "actor" and pulse.facts.get("number"):
                    found[int(pulse.facts["number"])] = float(pulse.facts["swap_s"])
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"robot-pt online ended with {process.returncode}; see {run}.")
    return [found[number] for number in sorted(found)[1:]]


def _cores(run: Path, pid: int, seconds: float = 5.0) -> float:
    """Processor seconds per second of a learner without episodes."""
    _pulse(run, lambda pulse: pulse.state == "waiting for episodes")
    time.sleep(1.0)
    before, began = _processor_s(pid), time.monotonic()
    time.sleep(seconds)
    return (_processor_s(pid) - before) / (time.monotonic() - began)


def _processor_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _pulse(run: Path, wanted: Any) -> Pulse:
    """The learner's, once it is as wanted."""
    monitor, began = HeartMonitor(run), time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        for pulse in monitor.look():
            if pulse.name == LEARNER and wanted(pulse):
                return pulse
        time.sleep(0.05)
    raise SystemExit(f"the learner did not get there in {PATIENCE_S:.0f} s; see {run}.")


def _recorded(cameras: tuple[str, ...], count: int) -> Iterator[Episode]:
    episodes: list[Episode] = []
    collect(TASK, count, episodes.append, workers=1, camera=cameras)
    return iter(episodes)


def _store(path: Path, cameras: tuple[str, ...], episodes: list[Episode]) -> DemoStore:
    store = DemoStore.create(path, spec_of(TASK, cameras, (64, 64)))
    for episode in episodes:
        store.append(episode)
    return store


def _command(*words: object) -> list[str]:
    return [sys.executable, "-m", "robot_pt", *map(str, words)]


@contextmanager
def _running(*words: object) -> Iterator[subprocess.Popen[bytes]]:
    """`robot-pt` with these words, ended by a signal at the end if it has not ended itself."""
    process = subprocess.Popen(_command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _spread(values: list[float]) -> dict[str, float]:
    return {"p50": round(float(np.median(values)), 3), "max": round(max(values), 3), "n": len(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few episodes each")
    options = parser.parse_args()
    found = {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            found[kind] = measure(kind, 4 if options.quick else 20, Path(folder))
        shown = found[kind]
        print(
            f"{kind}: {shown['updates_per_s']} updates/s; an episode is drawn from {shown['reaction_s']['p50']} s after it is whole on "
            f"disk (most {shown['reaction_s']['max']} s); an actor swaps in {shown['swap_s']['p50']} s (most {shown['swap_s']['max']} s); "
            f"waiting costs {shown['waiting_cores']} cores",
            flush=True,
        )
    print(json.dumps({"benchmark": "online_pace", "machine": describe(), **found}))


if __name__ == "__main__":
    main()
