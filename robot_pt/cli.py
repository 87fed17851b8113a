"""``robot-pt <verb>``: reads arguments, calls a recipe, prints. The only place (with recipes) that sees every package.

Every verb takes ``--json``: the last line of stdout is then one JSON object with the result. Errors that a user can cause
are one sentence on stderr and exit code 2; Ctrl-C is exit code 130.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

try:
    import tyro
except KeyboardInterrupt:  # Ctrl-C while Python is still reading its modules
    raise SystemExit(130) from None

from robot_pt.errors import TrainingInterrupted, UserError

PathArgument = Annotated[Path, tyro.conf.Positional]
PathArguments = Annotated[tuple[Path, ...], tyro.conf.Positional]


class Verb(Protocol):
    json: bool

    def run(self) -> dict[str, Any]: ...


@dataclass(kw_only=True)
class DataIndex:
    """Build the index of an RLDS data set once, so that training opens it in well under a second."""

    path: PathArgument
    """Folder of the data set: <name>/<version> as TFDS lays it out, or a DemoStore."""
    mapping: Path | None = None
    """TOML file that maps the columns of a data set robot-pt does not know (data/README.md shows one)."""
    skip_corrupt: bool = False
    """Leave damaged records out and name them, instead of stopping at the first."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import datasets

        return datasets.index(self.path, mapping=self.mapping, skip_corrupt=self.skip_corrupt)


@dataclass(kw_only=True)
class DataInspect:
    """Say what a data set holds: episodes, cameras, units, ranges, tasks, successes and what looks wrong."""

    path: PathArgument
    """Folder of the data set (RLDS/TFDS or DemoStore)."""
    mapping: Path | None = None
    """TOML mapping for a data set robot-pt does not know."""
    skip_corrupt: bool = False
    """Leave damaged records out and name them."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import datasets

        return datasets.inspect(self.path, mapping=self.mapping, skip_corrupt=self.skip_corrupt)


@dataclass(kw_only=True)
class DataExport:
    """Write a data set as RLDS (TFDS) or LeRobot v3, for tools that read those."""

    path: PathArgument
    """Folder of the data set to read."""
    out: Path
    """Folder to write; it must not exist yet."""
    format: Literal["rlds", "lerobot"] = "rlds"
    """rlds: TFDS folder with TFRecord shards; lerobot: LeRobot v3 parquet and MP4."""
    name: str = "robot_pt_demos"
    """Name of the data set that is written."""
    split: str = "train"
    """Split to read."""
    skip_corrupt: bool = False
    """Leave damaged records out and name them."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import datasets

        return datasets.export(
            self.path, self.out, format=self.format, name=self.name, split=self.split, skip_corrupt=self.skip_corrupt
        )  # fmt: skip


@dataclass(kw_only=True)
class DataCache:
    """Decode a camera once at training resolution: random access is then a memory map (optional, costs disk)."""

    path: PathArgument
    """Folder of the data set to read."""
    out: Path
    """Folder to write."""
    size: int = 128
    """Height and width of the cached frames, in pixels."""
    split: str = "train"
    """Split to read."""
    skip_corrupt: bool = False
    """Leave damaged records out and name them."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import datasets

        return datasets.cache(self.path, self.out, size=self.size, split=self.split, skip_corrupt=self.skip_corrupt)


@dataclass(kw_only=True)
class Collect:
    """Collect scripted demonstrations in simulation into a DemoStore. `--list` names the tasks."""

    task: str = ""
    """Task name, e.g. lift-red; see --list."""
    episodes: int = 10
    """How many episodes to record."""
    out: Path = Path("demos")
    """DemoStore folder; episodes are appended when it exists."""
    quality: Literal["clean", "mixed"] = "clean"
    """clean: the expert as it is; mixed: half noisy, hesitant or failing, as robots produce it."""
    image_size: int = 64
    """Height and width of the recorded frames, in pixels."""
    workers: int = 0
    """Parallel simulators; 0 means one per core."""
    seed: int = 0
    """Seed of the first episode; episode i uses seed + i."""
    list: bool = False
    """Name the tasks and stop."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import collect

        if self.list or not self.task:
            return {"tasks": collect.tasks()}
        return collect.collect(
            self.task, self.episodes, self.out, quality=self.quality, image_size=self.image_size,
            workers=self.workers, seed=self.seed,
        )  # fmt: skip


@dataclass(kw_only=True)
class Pretrain:
    """Pretrain a policy, a critic and an encoder offline on robot data (PTR's CQL, or BC)."""

    data: tuple[Path, ...]
    """Data sets to train on: RLDS folders or DemoStores."""
    out: Path
    """RUN folder: checkpoints, config.json, metrics.jsonl, report.html."""
    algorithm: Literal["ptr", "bc"] = "ptr"
    """ptr: CQL with PTR's settings; bc: behaviour cloning on the same network."""
    encoder: str = "auto"
    """small | resnet18 | resnet34 | resnet50 | RUN | timm:NAME; auto: resnet34 with a GPU, small without."""
    steps: int = 160_000
    """Gradient updates (the paper's schedule pretrains 160,000)."""
    batch_size: int = 64
    """Transitions per update, over all processes."""
    image_size: int = 0
    """Training resolution in pixels; 0: 128, or the stored size where that is smaller."""
    camera: str = "primary"
    """Camera role to train on."""
    language: bool = False
    """Condition on the instruction's words beside the task id."""
    route: Literal["max_q", "advantage_weighted"] = "max_q"
    """How the policy is taken from the critic: PTR's own, or advantage-weighted (faster on small budgets)."""
    bc_warm_start: int = 0
    """Updates in which the actor clones behaviour before it follows the critic."""
    assume_success: bool = False
    """Treat episodes without a success label as successful; without it they get no positive reward."""
    checkpoint_every: int = 0
    """Updates between checkpoints; 0: a twentieth of the steps, at most 20,000."""
    seed: int = 0
    """Seed of sampling, initialisation and all noise."""
    resume: bool = False
    """Continue the run in --out from its latest checkpoint."""
    skip_corrupt: bool = False
    """Leave damaged records out and name them."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import pretrain

        return pretrain.pretrain(
            self.data, self.out, algorithm=self.algorithm, encoder=self.encoder, steps=self.steps,
            batch_size=self.batch_size, image_size=self.image_size, camera=self.camera, language=self.language,
            route=self.route, bc_warm_start=self.bc_warm_start, assume_success=self.assume_success,
            checkpoint_every=self.checkpoint_every, seed=self.seed, resume=self.resume, skip_corrupt=self.skip_corrupt,
        )  # fmt: skip


@dataclass(kw_only=True)
class Finetune:
    """Finetune a pretrained run on a few demonstrations of a new task, mixed with the pretraining data."""

    from_: Annotated[Path, tyro.conf.arg(name="from")]
    """RUN to start from."""
    target: Path
    """Demonstrations of the new task."""
    data: tuple[Path, ...]
    """Pretraining data to keep mixing in."""
    out: Path
    """RUN folder to write."""
    demos: int = 10
    """How many target demonstrations to train on; the others are held out for checkpoint selection."""
    mixing_ratio: float = 0.9
    """Share of pretraining data in a batch (PTR: 0.9)."""
    steps: int = 20_000
    """Gradient updates after the switch."""
    checkpoint_every: int = 0
    """Updates between checkpoints; 0: a tenth of the steps, at most 5,000."""
    assume_success: bool = False
    """Treat episodes without a success label as successful."""
    seed: int = 0
    """Seed of sampling and noise."""
    resume: bool = False
    """Continue the run in --out from its latest checkpoint."""
    skip_corrupt: bool = False
    """Leave damaged records out and name them."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import finetune

        return finetune.finetune(
            self.from_, self.target, self.data, self.out, demos=self.demos, mixing_ratio=self.mixing_ratio,
            steps=self.steps, checkpoint_every=self.checkpoint_every, assume_success=self.assume_success,
            seed=self.seed, resume=self.resume, skip_corrupt=self.skip_corrupt,
        )  # fmt: skip


@dataclass(kw_only=True)
class Evaluate:
    """Run a policy in simulation and report its success rate with a 95 % interval; two runs are compared on the same seeds."""

    runs: PathArguments
    """One RUN, or two to compare."""
    task: str
    """Task name; `robot-pt collect --list` names them."""
    episodes: int = 20
    """Episodes, each from its own start."""
    seed: int = 0
    """Which set of starts: evaluations with one seed meet the same starts, with different seeds none in common."""
    out: Path | None = None
    """Folder for episodes.jsonl, videos and report.html; default RUN/evaluation/TASK."""
    workers: int = 0
    """Parallel simulators; 0 means one per core."""
    videos: bool = True
    """Write an MP4 of the rollouts."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import evaluate

        return evaluate.evaluate_runs(
            self.runs, self.task, episodes=self.episodes, seed=self.seed, out=self.out,
            workers=self.workers, videos=self.videos,
        )  # fmt: skip


@dataclass(kw_only=True)
class Bench:
    """Measure the loader, the update or the policy against its peer, from a checkout (benchmarks/)."""

    what: Annotated[Literal["loader", "update", "policy"], tyro.conf.Positional]
    """What to measure."""
    quick: bool = False
    """A shorter run with wider noise."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import bench

        return bench.bench(self.what, quick=self.quick)


@dataclass(kw_only=True)
class Demo:
    """Collect, pretrain, finetune on ten demonstrations, evaluate and write a report: the whole way in one command."""

    out: Path = Path("runs/demo")
    """Folder for everything the demo makes; an interrupted demo continues where it stopped."""
    seed: int = 0
    """Seed of everything."""
    minutes: float = 16.0
    """Rough budget after installation; training lengths scale with it."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import demo

        return demo.demo(self.out, seed=self.seed, minutes=self.minutes)


VERBS: dict[str, type | dict[str, type]] = {
    "data": {"index": DataIndex, "inspect": DataInspect, "export": DataExport, "cache": DataCache},
    "collect": Collect,
    "pretrain": Pretrain,
    "finetune": Finetune,
    "evaluate": Evaluate,
    "bench": Bench,
    "demo": Demo,
}

DESCRIPTION = """Learn robot policies from data that already exists, and run them.

A first look:  robot-pt data inspect DATASET  |  robot-pt demo
"""


def parse(arguments: Sequence[str]) -> Verb:
    """The verb with its arguments; `--help` exits with 0. Raises UserError, one sentence, on a mistake in them."""
    from robot_pt.arguments import read

    group = VERBS.get(arguments[0]) if arguments else None
    if isinstance(group, dict):
        verb = read(group, arguments[1:], f"robot-pt {arguments[0]}", "Read, check and convert data sets.")
    else:
        verb = read({**VERBS, "data": DataGroup}, arguments, "robot-pt", DESCRIPTION)
    found: Verb = verb
    return found


@dataclass(kw_only=True)
class DataGroup:
    """index | inspect | export | cache a data set."""

    json: bool = False

    def run(self) -> dict[str, Any]:
        raise UserError("`robot-pt data` needs one of index, inspect, export, cache; try `robot-pt data --help`.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (0 done, 2 the user's mistake, 130 interrupted)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    as_json = "--json" in arguments
    try:
        result = _run(parse(arguments))
        _show(result, as_json)
    except TrainingInterrupted as stopped:
        return _fail(str(stopped), 130, as_json)
    except UserError as error:
        return _fail(str(error), 2, as_json)
    except KeyboardInterrupt as interrupt:
        return _fail(str(interrupt) or "interrupted; what was written so far is kept.", 130, as_json)
    except BrokenPipeError:  # `robot-pt ... | head`: nobody reads on, and nothing may be flushed at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}; check the path, its rights and free space.", 2, as_json)
    except MemoryError:
        return _fail("there is not enough memory for this; lower the batch size, image size or workers.", 2, as_json)
    return 0


def _run(verb: Verb) -> dict[str, Any]:
    from robot_pt.recipes.progress import warnings_as_lines

    with warnings_as_lines():
        return verb.run()


def _show(result: dict[str, Any], as_json: bool) -> None:
    if os.environ.get("RANK", "0") != "0":
        return  # under torchrun the first process speaks for all
    if as_json:
        print(json.dumps(result, default=str), flush=True)
    else:
        from robot_pt.recipes import show

        show.result(result)
        sys.stdout.flush()


def _fail(sentence: str, code: int, as_json: bool) -> int:
    print(f"robot-pt: {sentence}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": sentence}))
    return code
