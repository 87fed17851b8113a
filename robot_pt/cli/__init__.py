"""``robot-pt <verb>``: reads arguments, calls a recipe, prints. The only place (with recipes) that sees every package.

Every verb takes ``--json``: the last line of stdout is then one JSON object with the result. Errors that a user can cause
are one sentence on stderr and exit code 2; Ctrl-C is exit code 130. One file per group of verbs beside this one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

try:
    from robot_pt.cli.comparing import Compare, Probe
    from robot_pt.cli.data import DataCache, DataExport, DataGroup, DataIndex, DataInspect, DataRepair, DataUpload
    from robot_pt.cli.learning import Finetune, Pretrain
    from robot_pt.cli.online import Online
    from robot_pt.cli.reward import RewardCheck, RewardGroup, RewardLabel, RewardTrain
    from robot_pt.cli.robot import Launch
    from robot_pt.cli.simulation import Collect, Evaluate
    from robot_pt.cli.tour import Bench, Demo
    from robot_pt.cli.verb import Verb
    from robot_pt.errors import TrainingInterrupted, UserError
except KeyboardInterrupt:  # Ctrl-C while Python is still reading its modules
    raise SystemExit(130) from None

VERBS: dict[str, type | dict[str, type]] = {
    "data": {
        "index": DataIndex,
        "inspect": DataInspect,
        "export": DataExport,
        "cache": DataCache,
        "upload": DataUpload,
        "repair": DataRepair,
    },
    "collect": Collect,
    "pretrain": Pretrain,
    "finetune": Finetune,
    "online": Online,
    "reward": {"train": RewardTrain, "check": RewardCheck, "label": RewardLabel},
    "probe": Probe,
    "compare": Compare,
    "evaluate": Evaluate,
    "launch": Launch,
    "bench": Bench,
    "demo": Demo,
}

GROUPS: dict[str, type] = {"data": DataGroup, "reward": RewardGroup}
"""Verbs that have verbs of their own, as they are shown among the others."""

DESCRIPTION = """Learn robot policies from data that already exists, and run them.

A first look:  robot-pt data inspect DATASET  |  robot-pt demo
"""


def parse(arguments: Sequence[str]) -> Verb:
    """The verb with its arguments; `--help` exits with 0. Raises UserError, one sentence, on a mistake in them."""
    from robot_pt.arguments import read

    group = VERBS.get(arguments[0]) if arguments else None
    if isinstance(group, dict):
        verb = read(group, arguments[1:], f"robot-pt {arguments[0]}", (GROUPS[arguments[0]].__doc__ or "").strip())
    else:
        verb = read({**VERBS, **GROUPS}, arguments, "robot-pt", DESCRIPTION)
    found: Verb = verb
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (0 done, 1 what was launched failed, 2 the user's mistake, 130 interrupted)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    as_json = "--json" in arguments
    try:
        result = _run(parse(arguments))
        _show(result, as_json)
        return int(result.get("exit_code", 0))
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
    except RuntimeError as error:
        if _is_out_of_memory(error):
            return _fail(
                "the device has not enough memory for this; give a smaller --batch-size, --image-size or --encoder, or --bf16.",
                2,
                as_json,
            )
        spoken = _spoken_for(None)  # lost another process of torchrun that has said why it ends
        if spoken is None:
            raise
        return spoken
    return 0


def _run(verb: Verb) -> dict[str, Any]:
    from robot_pt.recipes.progress import warnings_as_lines

    with warnings_as_lines():
        return verb.run()


def _show(result: dict[str, Any], as_json: bool) -> None:
    if os.environ.get("RANK", "0") != "0":
        return  # under torchrun the first process speaks for all
    text = result.pop("text", None)  # a verb that has its own words for people
    if as_json:
        print(json.dumps(result, default=str), flush=True)
    elif text is not None:
        print(text, flush=True)
    else:
        from robot_pt.recipes import show

        show.result(result)
        sys.stdout.flush()


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Of a GPU, or of torch on the CPU, whose allocator has no error of its own."""
    torch = sys.modules.get("torch")
    return torch is not None and (isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error))


def _spoken_for(code: int | None) -> int | None:
    """The exit code that another process of torchrun has ended with before this one could; None where it is up to this one."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    from robot_pt.distributed import first_failure

    return first_failure(code)


def _fail(sentence: str, code: int, as_json: bool) -> int:
    spoken = _spoken_for(code)
    if spoken is not None:
        return spoken
    print(f"robot-pt: {sentence}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": sentence}))
    return code
