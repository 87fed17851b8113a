"""Views, concatenation and splits of sources move no step and lose none."""

import dataclasses

import numpy as np
import pytest

from robot_pt.errors import DataError, MismatchError
from robot_pt.schema import EpisodeTable, Spec
from robot_pt.sources import Concat, EpisodeSource, EpisodeView, filter_episodes, leaf, split_episodes

SPEC = Spec(cameras={"primary": (2, 2), "wrist": (2, 2)}, embodiment="panda")


class Memory:
    """Frames carry their step number, shifted by `base`, so that mixing up steps shows."""

    def __init__(self, lengths: list[int], base: int = 0, spec: Spec = SPEC, tasks: list[str] | None = None):
        steps, count = sum(lengths), len(lengths)
        self.spec, self.base = spec, base
        self.proprio = np.full((steps, 7), base, np.float32) + np.arange(steps, dtype=np.float32)[:, None]
        self.actions, self.rewards = self.proprio + 0.5, self.proprio[:, 0]
        self.terminated = self.truncated = np.zeros(steps, bool)
        self.episodes = EpisodeTable(
            start=np.cumsum([0, *lengths])[:-1].astype(np.int64), length=np.array(lengths, np.int64),
            instruction=[""] * count, task=tasks or ["a"] * count, success=np.zeros(count, np.int8), dataset=["m"] * count,
            split=["train"] * count, operator=["teleop"] * count,
        )  # fmt: skip

    def images(self, steps, camera, size=None):
        shape = (len(steps), *(size or self.spec.cameras[camera]), 3)
        return np.broadcast_to((np.asarray(steps) + self.base).astype(np.uint8)[:, None, None, None], shape)


def test_the_protocol_is_met() -> None:
    assert isinstance(Memory([2]), EpisodeSource)
    assert isinstance(Concat([Memory([2])]), EpisodeSource)


def test_concat_keeps_every_step_with_its_frame() -> None:
    both = Concat([Memory([2, 3]), Memory([4], base=100)])
    assert both.episodes.start.tolist() == [0, 2, 5]
    steps = np.array([8, 0, 5, 4])
    assert both.images(steps, "primary", None)[:, 0, 0, 0].tolist() == [103, 0, 100, 4]
    assert both.proprio[steps, 0].tolist() == [103, 0, 100, 4]
    assert both.images(steps, "wrist", (5, 3)).shape == (4, 5, 3, 3)


def test_concat_offers_only_cameras_all_have() -> None:
    one_camera = dataclasses.replace(SPEC, cameras={"primary": (2, 2)})
    assert set(Concat([Memory([1]), Memory([1], spec=one_camera)]).spec.cameras) == {"primary"}


def test_concat_of_metres_and_something_else_is_of_unknown_unit() -> None:
    other = dataclasses.replace(SPEC, action_unit="normalized")
    assert Concat([Memory([1]), Memory([1], spec=other)]).spec.action_unit == "unknown"
    assert Concat([Memory([1], spec=other), Memory([1], spec=other)]).spec.action_unit == "normalized"


def test_concat_refuses_nothing_and_other_names() -> None:
    with pytest.raises(DataError, match="at least one source"):
        Concat([])
    other = dataclasses.replace(SPEC, action_names=("dx",))
    with pytest.raises(MismatchError, match="the same action names"):
        Concat([Memory([1]), Memory([1], spec=other)])
    more = dataclasses.replace(SPEC, proprio_names=(*SPEC.proprio_names, "thing_x"))
    with pytest.raises(
        MismatchError, match=r"the same proprio names; panda has x, .*, panda x, .*, thing_x: leave one out"
    ):
        Concat([Memory([1]), Memory([1], spec=more)])


def test_a_view_and_its_leaf() -> None:
    inner = Memory([4], base=100)
    both = Concat([Memory([2, 3]), inner])
    view = filter_episodes(both, lambda table, e: table.length[e] == 4)
    assert view.episodes.start.tolist() == [5]
    assert leaf(view, 7) == (inner, 2)
    assert leaf(inner, 1) == (inner, 1)


def test_a_split_is_a_partition_with_some_of_every_task_on_both_sides() -> None:
    source = Memory([1] * 23, tasks=["a"] * 15 + ["b"] * 7 + ["single"])
    train, held = split_episodes(source, 0.1, seed=3)
    assert sorted([*train.episodes.start, *held.episodes.start]) == list(range(23))
    assert {"a", "b"} == set(held.episodes.task)
    assert "single" in train.episodes.task
    again = split_episodes(source, 0.1, seed=3)[1]
    assert again.episodes.start.tolist() == held.episodes.start.tolist()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        split_episodes(Memory([1]), share)


def test_views_share_memory() -> None:
    source = Memory([2, 3])
    assert EpisodeView(source, source.episodes).actions is source.actions
