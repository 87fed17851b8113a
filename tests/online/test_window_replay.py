"""Windows of episodes that come while learning: of one episode each, beside those of data that was there."""

import numpy as np

from robot_pt.images import decode
from robot_pt.online.replay import OnlineReplay
from robot_pt.rewards import RewardLabel
from robot_pt.store import DemoStore
from tests.online.toys import PIXELS, make_episode


def decoded(store: DemoStore, name: str) -> np.ndarray:
    return decode(store.read(name).images["primary"], (8, 8))


def test_windows_of_a_growing_store_stay_in_their_episodes(tmp_path, tasks) -> None:
    """Proprio says which episode and step a row is; frames are those of that row."""
    store, fixed = DemoStore.create(tmp_path / "s", PIXELS), DemoStore.create(tmp_path / "f", PIXELS)
    assert fixed.append(make_episode(50, steps=4, spec=PIXELS)) == "000000"
    replay = OnlineReplay(
        {"offline": (fixed.source(), 0.5)}, online=0.5, spec=PIXELS, cameras=("primary",), image_size=(8, 8), batch_size=16,
        reward=RewardLabel(final_steps=1), gamma=0.9, task_table=tasks, seed=1, next_frames=False, bootstrap=False, window=3,
    )  # fmt: skip
    episodes, frames = {50: make_episode(50, steps=4, spec=PIXELS)}, {50: decoded(fixed, "000000")}
    with replay:
        for number, steps in ((0, 5), (1, 2), (2, 3)):
            episodes[number] = make_episode(number, steps=steps, spec=PIXELS)
            name = store.append(episodes[number])
            replay.append(store.read(name), store.path / name)
            frames[number] = decoded(store, name)
        batches = [next(replay) for _ in range(15)]
    starts = set()
    for batch in batches:
        for proprio, valid, action, images in zip(
            batch.proprio, batch.valid, batch.action, batch.images["primary"], strict=True
        ):
            number, first = int(proprio[0, 0]), int(proprio[0, 1])
            episode = episodes[number]
            steps = np.minimum(first + np.arange(3), len(episode) - 1)
            np.testing.assert_array_equal(proprio, episode.proprio[steps])
            np.testing.assert_array_equal(action, episode.actions[steps])
            np.testing.assert_array_equal(valid, first + np.arange(3) < len(episode))
            np.testing.assert_array_equal(images, frames[number][steps])
            starts.add((number, first))
    assert starts == {(n, s) for n, e in episodes.items() for s in range(len(e))}, "every step begins a window"
