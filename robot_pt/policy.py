"""Policy: a checkpoint that acts. The same object in simulation, offline analysis and on the robot.

It knows nothing of time, safety or robots: observations in, actions in physical units out. Imports neither agents, zarr nor
any data reader, so the machine beside the arm needs torch, OpenCV and this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from robot_pt.checkpoint import resolve
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.frame_memory import FrameMemory
from robot_pt.images import resize
from robot_pt.language import sentence_features
from robot_pt.networks.policy_kinds import policy_network
from robot_pt.networks.policy_network import ActionDistribution, PolicyNetwork, WindowedNetwork
from robot_pt.networks.traced import Act, traced_encode, traced_mode
from robot_pt.policy_record import PolicyRecord, require_fits, require_metric
from robot_pt.safe_files import read_json
from robot_pt.safe_tensors import read_tensors, same_shapes
from robot_pt.schema import Float, Observation, Spec

Inputs = tuple[Mapping[str, Tensor], Tensor, Tensor, Tensor]
"""Arguments of a policy network: images, proprio, task, language."""

_ENCODER = re.compile(r"(timm:)?[\w.-]+")  # no hub addresses: loading a policy never goes to the network


class Policy:
    """Acts by the mode of what it learned, or by draws of it where the network is made for that, on the newest observation or a few.


    Attributes:
        spec: robot, rate, action and proprio convention it was trained for; its cameras are those it looks at.
        version: hash of weights and description, for every recorded episode.
        step: training updates behind it.
        executable: False when loaded for analysis only.
        window: observations it looks at, the newest included.
    """

    def __init__(
        self, record: PolicyRecord, actor: PolicyNetwork, *, version: str, step: int, device: torch.device | str = "cpu",
        executable: bool = True,
    ):  # fmt: skip
        self.record, self.spec, self.version, self.step, self.executable = (
            record,
            record.spec,
            version,
            step,
            executable,
        )
        self._actor = actor.to(device).eval()
        self._size, self._device = record.image_size, torch.device(device)
        shape = (1, *self._size, 3)
        self._frames = {camera: torch.zeros(shape, dtype=torch.uint8) for camera in record.cameras}
        self._pixels = {camera: frame.numpy()[0] for camera, frame in self._frames.items()}  # views of the tensors
        self._proprio = torch.zeros(1, len(self.spec.proprio_names))
        self._task: Tensor | None = None
        self._language = torch.zeros(1, record.language_size, device=self._device)
        self._mode: Act | None = None  # recorded at first use; of one observation where it looks at several
        self.window = actor.window
        self._memory = FrameMemory(actor.window, self._encoded) if isinstance(actor, WindowedNetwork) else None
        self._rng: np.random.Generator | None = None

    @classmethod
    def load(
        cls,
        directory: Path | str,
        spec: Spec | None = None,
        *,
        device: torch.device | str = "cpu",
        for_analysis: bool = False,
    ) -> Policy:
        """Load a RUN or one of its checkpoints.

        Args:
            spec: what the robot or simulator offers; checked against what the policy was trained for.
            for_analysis: allow `act` where actions are not metric, to compare them with data; never to move anything.
        Raises:
            DataError: no checkpoint there, or a damaged one. Nothing in it can run code or ask for unbounded memory.
            MismatchError: another robot, camera, state, action convention or rate; or actions that are not metric.
        """
        folder = resolve(directory)
        document = read_json(folder / "policy.json")
        record = PolicyRecord.from_json(document)
        if spec is not None:
            require_fits(record.spec, spec)
        tensors = read_tensors(folder / "weights.safetensors", document["weights_sha256"])
        actor = _build(record, tensors, folder)
        return cls(
            record,
            actor,
            version=document["version"],
            step=document["step"],
            device=device,
            executable=not for_analysis,
        )

    @property
    def task_names(self) -> tuple[str, ...]:
        """Tasks it was trained on, in slot order."""
        return self.record.tasks.names

    @property
    def hears(self) -> bool:
        """Whether an instruction changes what it does."""
        return self.record.language_size > 0

    def reset(self, task: str | None, instruction: str | None = None) -> None:
        """Choose what to do, before the first `act` of every episode.

        Args:
            task: a name from `task_names`; None takes the only one. A policy with language also takes a task it was not
                trained on: it then gets a free slot, and the words carry the meaning.
            instruction: the sentence for a policy with language; the task's name where None.
        Raises:
            UserError: an unknown task, or None where there are several; names those there are.
        """
        slot = self._slot(task)
        self._rng = None
        if self._memory is not None:
            self._memory.clear()
        self._task = torch.tensor([slot], device=self._device)
        if self.record.language_size:
            sentence = instruction if instruction is not None else (task or self.task_names[slot])
            feature = sentence_features(sentence, self.record.language_size)
            self._language = torch.from_numpy(feature)[None].to(self._device)

    def _slot(self, task: str | None) -> int:
        tasks = self.record.tasks
        if task is None:
            if len(tasks.names) != 1:
                raise UserError(f"the policy knows {len(tasks.names)} tasks; choose one of {list(tasks.names)[:20]}.")
            return 0
        if task not in tasks and self.record.language_size and len(tasks.names) < tasks.slots:
            return len(tasks.names)
        return tasks[task]

    def act(self, history: Sequence[Observation]) -> Float:
        """(1, A) float32: the action chunk to play next, in the units of `spec`.

        `history` ends with the newest observation, one per control step before it; it is as long as the episode so far, or has the last
        `window`. Frames may be of any size, they are resized as in training. A policy that draws its actions draws the same ones in an
        episode that begins with the same observation.

        Raises:
            UserError: called before `reset`, with no observation, or one without a camera, of wrong shape or with NaN.
            MismatchError: the policy's actions are not metric and it was not loaded for analysis.
        """
        self._require_ready(history)
        if self._memory is None and not self._actor.draws:
            inputs = self._prepare(history[-1])
            if self._mode is None:  # once, at the first action: a policy node warms up before it is asked for one
                self._mode = self._recorded(traced_mode, self._actor.mode, inputs)
            with torch.inference_mode():
                return _finite(self._mode(*inputs).cpu().numpy())
        with torch.inference_mode():
            policy = self._look(history)
            chosen = policy.draw(self._noise(policy.noise_shape, history)) if self._actor.draws else policy.mode()
            return self._physical(chosen)

    def explore(self, history: Sequence[Observation], rng: np.random.Generator, std: float | None = None) -> Float:
        """As `act`, but drawn: from the learned distribution, or with `std` from a Gaussian around its central action.

        For collecting in simulation; actions stay within the bounds it was trained for. `std` in half ranges of each dimension.
        """
        self._require_ready(history)
        with torch.inference_mode():
            policy = self._look(history)
            if std is None:
                return self._physical(policy.draw(self._normal(rng, policy.noise_shape)))
            mode = policy.mode()
            return self._physical(mode + std * self._normal(rng, mode.shape[1:]))

    def _require_ready(self, history: Sequence[Observation]) -> None:
        if self.executable:
            require_metric(self.spec)
        if self._task is None:
            raise UserError("the policy has no task yet; call reset(task) before act.")
        if not history:
            raise UserError("the policy was asked to act without an observation; give at least the newest one.")

    def _look(self, history: Sequence[Observation]) -> ActionDistribution:
        if self._memory is None:
            seen: ActionDistribution = self._actor(*self._prepare(history[-1]))
            return seen
        assert isinstance(self._actor, WindowedNetwork)
        return self._actor.newest(self._memory.features(history))

    def _encoded(self, observation: Observation) -> Tensor:
        """(1, F) feature of one observation, for a policy that looks at several."""
        assert isinstance(self._actor, WindowedNetwork)
        inputs = self._prepare(observation)
        if self._mode is None:
            self._mode = self._recorded(traced_encode, self._actor.encode, inputs)
        return self._mode(*inputs)

    def _noise(self, shape: tuple[int, ...], history: Sequence[Observation]) -> Tensor:
        """Of the episode's own numbers, which the first observation that it acts on decides, as far as the policy looks at it."""
        rng = self._rng  # another thread may reset the policy meanwhile
        if rng is None:
            first = history[-1]
            seen = [np.ascontiguousarray(first.images[camera]).tobytes() for camera in self._pixels]
            rng = np.random.default_rng([crc32(b) for b in (np.float32(first.proprio).tobytes(), *seen)])
            self._rng = rng
        return self._normal(rng, shape)

    def _normal(self, rng: np.random.Generator, shape: Sequence[int]) -> Tensor:
        """(1, *shape) standard normal numbers."""
        return torch.from_numpy(rng.standard_normal((1, *shape)).astype(np.float32)).to(self._device)

    def _physical(self, normalised: Tensor) -> Float:
        return _finite(self._actor.normalizer.decode(normalised.clamp(-1, 1)).cpu().numpy())

    def _recorded(self, record: Callable[..., Act], plain: Act, inputs: Inputs) -> Act:
        if self._device.type != "cpu":
            return plain
        # A contiguous convolution's weights are reordered at each call: half of a ResNet's time for one frame.
        self._actor.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return record(self._actor, *inputs)

    def _prepare(self, observation: Observation) -> Inputs:
        """Resize into, and return, the same few tensors each time."""
        for camera, target in self._pixels.items():
            frame = observation.images.get(camera)
            if frame is None:
                raise UserError(f"the observation lacks camera {camera!r}; it has {sorted(observation.images)}.")
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
                raise UserError(f"camera {camera!r} gave {frame.dtype} {frame.shape}; give uint8 (H, W, 3) RGB.")
            target[...] = resize(frame, self._size)
        proprio = np.asarray(observation.proprio, np.float32)
        if proprio.shape != (len(self.spec.proprio_names),) or not np.isfinite(proprio).all():
            raise UserError(
                f"proprio is {proprio}; give {len(self.spec.proprio_names)} finite numbers: {list(self.spec.proprio_names)}."
            )
        self._proprio.numpy()[0] = proprio
        assert self._task is not None
        if self._device.type == "cpu":
            return self._frames, self._proprio, self._task, self._language
        there = {camera: frame.to(self._device) for camera, frame in self._frames.items()}
        return there, self._proprio.to(self._device), self._task, self._language


def _finite(action: Float) -> Float:
    if not np.isfinite(action).all():
        raise DataError(
            f"the policy's action is {action[0].tolist()}, not finite: its weights or the observation are damaged; nothing may move."
        )
    return np.asarray(action, np.float32)


def _build(record: PolicyRecord, tensors: Mapping[str, Tensor], folder: Path) -> PolicyNetwork:
    """The network with its weights. Its outline is compared with the file first: a description may not ask for more memory
    than the file proves it needs."""
    try:
        network = _closed(record.network)
        with torch.device("meta"), _WithoutRandomFill():
            outline = policy_network(network)
        difference = same_shapes(outline, tensors)
        if difference:
            raise DataError(
                f"{folder}: weights and description differ ({difference}); restore it or use another checkpoint."
            )
        with torch.random.fork_rng(devices=[]):
            actor = policy_network(network)
        actor.load_state_dict(dict(tensors))
    except MismatchError:
        raise
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        ArithmeticError,
        RuntimeError,
        UserError,
    ) as error:
        if isinstance(error, DataError):
            raise
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(
            f"{folder}/policy.json describes no network ({text}); restore it or use another checkpoint."
        ) from None
    expected = (len(record.spec.action_names), len(record.spec.proprio_names), record.tasks.slots)
    found = (len(network["bounds"]["low"]), len(network["proprio_mean"]), network["task_slots"])
    if expected != found:
        raise DataError(
            f"{folder}/policy.json contradicts itself: spec and task table need (actions, proprio, task slots) {expected}, "
            f"the network has {found}; restore it."
        )
    return actor


class _WithoutRandomFill(TorchFunctionMode):
    """Skips `normal_`: an outline has no values, and torch imports 800 modules (2 s) to fill it with none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.normal_:
            return args[0]
        return func(*args, **(kwargs or {}))


def _closed(network: Mapping[str, Any]) -> dict[str, Any]:
    """The description without anything that would make building it read other files or the network."""
    encoder = dict(network["encoder"])
    if not _ENCODER.fullmatch(encoder["name"]):
        raise DataError(
            f"the policy's encoder is {encoder['name']!r}, which is no name of an encoder; restore policy.json."
        )
    return {**network, "encoder": {**encoder, "weights": ""}}
