"""RldsSource: an indexed RLDS split as an EpisodeSource. No TensorFlow; any step is one slice and one scaled decode away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robot_pt.errors import DataError
from robot_pt.images import decode
from robot_pt.schema import ACTION_NAMES, PROPRIO_NAMES, ActionSource, ActionUnit, Bool, EpisodeTable, Image, Int, Spec
from robot_pt.simulated import Versions
from robot_pt_data.mapping import Mapping, load_mapping
from robot_pt_data.shards import Bytes, Shards
from robot_pt_data.standardize import achieved
from robot_pt_data.step_index import StepIndex


class RldsSource:
    """Steps of one split. Rows that are left out (place holders, the last step of achieved actions) belong to no episode.

    Args:
        action_source: None = what the mapping says; commanded = as stored; achieved = differences of consecutive measured
            poses (angles wrapped, the gripper as commanded), whose last step is left out because its outcome is unseen; its
            reward and its end move to the step before. Where the mapping says that achieved actions are stored, they stay
            as they are.
        threads: for decoding; None uses all cores.
    Raises:
        DataError: when achieved actions are asked for and the data has no measured pose, or commanded ones and it only has
            achieved ones.
    """

    def __init__(
        self, index: StepIndex, shards: Shards, action_source: ActionSource | None = None, threads: int | None = None
    ):
        mapping = load_mapping(index.info["mapping"])
        action_source = action_source or mapping.action_source
        if action_source == "commanded" and mapping.action_source == "achieved":
            raise DataError(
                f"{index.info['name']} keeps achieved actions only, as its mapping says; use action_source='achieved' or leave it out."
            )
        self._index, self._shards = index, shards
        self.threads = threads
        self.simulators: Versions = {}
        """What recorded the episodes, where that was a simulator and the data set says so."""
        dummy = _absent(index)
        self._camera_row = {role: i for i, role in enumerate(index.cameras) if not dummy[i]}
        self.warnings: list[str] = _warnings(index, mapping)
        self.left_out = [fault.reason for fault in index.faults]
        computed = action_source == "achieved" and (mapping.action_source == "commanded" or mapping.computes_actions)
        unit = mapping.pose_unit if computed else mapping.action_unit
        self.spec = _spec(index, mapping, list(self._camera_row), action_source, unit)
        self.proprio, self.actions, self.rewards = index.proprio, index.actions, index.rewards
        self.terminated, self.truncated = index.terminated, index.truncated
        length = np.array(index.length)
        if computed:
            if mapping.proprio_names != PROPRIO_NAMES:
                raise DataError(
                    f"{index.info['name']} has no measured pose, so its achieved actions are unknown; use action_source='commanded'."
                )
            length = self._use_achieved(length)
        keep = np.flatnonzero(length > 0)
        self.episodes = EpisodeTable(
            start=np.array(index.start)[keep],
            length=length[keep],
            instruction=[index.instruction[e] for e in keep],
            task=[index.task[e] for e in keep],
            success=np.array(index.success)[keep],
            dataset=[index.dataset[e] for e in keep],
            split=[str(index.info["split"])] * len(keep),
            operator=[index.operator[e] for e in keep],
        )
        self._kept = keep

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """(n, H, W, 3) uint8 RGB; a `size` below the stored one is decoded at 1/2, 1/4 or 1/8 scale first.

        Raises DataError naming the shard when a frame is damaged, or the cameras there are when `camera` is not one.
        """
        steps = np.asarray(steps, np.int64)
        buffers = self._fetch(steps, camera)
        try:
            return decode(buffers, size or self.spec.cameras[camera], threads=self.threads, stored=self._stored(camera))
        except DataError as error:
            raise self._located(error, steps, buffers, camera) from None

    def encoded(self, steps: Int, camera: str) -> list[bytes]:
        """The stored JPEG or PNG bytes of each step."""
        return [buffer.tobytes() for buffer in self._fetch(np.asarray(steps, np.int64), camera)]

    def camera_present(self, camera: str) -> Bool:
        """(E,) False where an episode has only a place holder for this camera."""
        present: Bool = np.logical_not(self._index.dummy[self._kept, self._row(camera)])
        return present

    def _fetch(self, steps: Int, camera: str) -> list[Bytes]:
        row, index = self._row(camera), self._index
        if len(steps) and not 0 <= int(steps.min()) <= int(steps.max()) < len(index.actions):
            raise DataError(
                f"steps run from 0 to {len(index.actions) - 1}; {int(steps.min())} to {int(steps.max())} were asked for."
            )
        size = index.size[steps, row].astype(np.int64)
        return self._shards.fetch(index.shard[steps], index.record[steps], index.offset[steps, row], size)

    def _row(self, camera: str) -> int:
        if camera not in self._camera_row:
            name = self._index.info["name"]
            raise DataError(
                f"camera {camera!r} is not in {name}, which has {sorted(self._camera_row)}; choose one of these."
            )
        return self._camera_row[camera]

    def _located(self, error: DataError, steps: Int, buffers: Sequence[Bytes], camera: str) -> DataError:
        for step, buffer in zip(steps.tolist(), buffers, strict=True):
            try:
                decode([buffer], (8, 8), threads=1, stored=self._stored(camera))
            except DataError as reason:
                shard = self._index.shards[int(self._index.shard[step])]
                record = int(self._index.record[step])
                return DataError(f"step {step}, camera {camera!r}, record {record} of {shard}: {reason}")
        return error

    def _stored(self, camera: str) -> tuple[int, int] | None:
        """The size every frame must have; None where the episodes differ in it."""
        return None if self._index.info.get("mixed_sizes") else self.spec.cameras[camera]

    def _use_achieved(self, length: Int) -> Int:
        index = self._index
        self.actions = np.array(index.actions)
        self.rewards, self.terminated = np.array(index.rewards), np.array(index.terminated)
        self.truncated = np.array(index.truncated)
        inside = np.zeros(len(self.actions), bool)
        for start, count in zip(index.start.tolist(), length.tolist(), strict=True):
            rows = slice(start, start + count)
            inside[rows] = True
            self.actions[rows] = achieved(index.proprio[rows], index.actions[rows])
        last = np.asarray(index.start)[length > 1] + length[length > 1] - 1
        for column in (self.terminated, self.truncated):
            column[last - 1] |= column[last]
        self.rewards[last - 1] += self.rewards[last]
        return length - 1


def _spec(
    index: StepIndex, mapping: Mapping, roles: list[str], action_source: ActionSource, action_unit: ActionUnit
) -> Spec:
    names = mapping.proprio_names
    if names is None:
        names = tuple(f"state_{i}" for i in range(index.proprio.shape[1]))
    return Spec(
        cameras={role: index.cameras[role] for role in roles},
        embodiment=mapping.embodiment,
        control_hz=mapping.control_hz,
        action_names=ACTION_NAMES,
        proprio_names=names,
        action_unit=action_unit,
        action_source=action_source,
    )


def _absent(index: StepIndex) -> list[bool]:
    """Per camera: a place holder in every episode."""
    return [bool(index.dummy[:, i].all()) for i in range(len(index.cameras))]


def _warnings(index: StepIndex, mapping: Mapping) -> list[str]:
    """Sentences that a user of this split should read."""
    name, out = index.info["name"], []
    if not mapping.verified:
        out.append(f"the entry of {name} is unverified: {mapping.notes}")
    if mapping.action_unit != "metric" and not mapping.computes_actions:
        out.append(
            f"the stored actions of {name} are {mapping.action_unit}, not metres and radians: they may pretrain and are refused for execution."
        )
    dummy = _absent(index)
    absent = [role for i, role in enumerate(index.cameras) if dummy[i]]
    if absent:
        out.append(f"the cameras {absent} of {name} hold one place holder image throughout and are left out.")
    partly = {
        r: int(index.dummy[:, i].sum()) for i, r in enumerate(index.cameras) if index.dummy[:, i].any() and not dummy[i]
    }
    if partly:
        out.append(f"episodes of {name} with a place holder instead of images, per camera: {partly}.")
    ends = np.asarray(index.start) + np.asarray(index.length) - 1
    cut = int(np.asarray(index.truncated)[ends].sum())
    if cut:
        out.append(
            f"{cut} of {len(ends)} episodes of {name} do not end in a terminal step and are treated as truncated."
        )
    unknown = int((np.asarray(index.success) < 0).sum())
    if unknown:
        out.append(f"{unknown} of {len(ends)} episodes of {name} carry no success label.")
    if index.info.get("mixed_sizes"):
        out.append(
            f"the frames of {name} have several sizes: all are resized to one, so what is seen may be stretched."
        )
    silent = sum(not text for text in index.instruction)
    if silent:
        out.append(f"{silent} of {len(ends)} episodes of {name} have no language instruction.")
    if index.faults:
        first = index.faults[0]
        out.append(f"{len(index.faults)} damaged records of {name} are left out, the first: {first.reason}.")
    return out
