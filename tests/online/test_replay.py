"""The growing replay: true returns, exact shares, no episode before its time, and the same samples after a restart."""

import time

import numpy as np
import pytest

from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.images import decode
from robot_pt.online.growing import Column
from robot_pt.online.replay import OnlineReplay
from robot_pt.rewards import RewardLabel, return_to_go
from robot_pt.store import DemoStore
from robot_pt.transitions import transitions
from tests.online.toys import PIXELS, STATE, make_episode

GAMMA = 0.9


def replay_of(
    tasks, fixed=None, *, online=1.0, interventions=0.0, batch_size=8, spec=STATE, cameras=(), size=(0, 0), **more
):
    return OnlineReplay(
        fixed or {}, online=online, interventions=interventions, spec=spec, cameras=cameras, image_size=size, batch_size=batch_size,
        reward=more.pop("reward", RewardLabel(final_steps=1)), gamma=GAMMA, task_table=tasks, seed=3, **more,
    )  # fmt: skip


def add(replay: OnlineReplay, store: DemoStore, number: int, **fields) -> int:
    name = store.append(make_episode(number, spec=store.spec, **fields))
    return replay.append(store.read(name), store.path / name)


def test_rows_of_a_growing_store_are_those_of_the_whole(store, tasks, reward) -> None:
    """Against `transitions` over the finished store, an independent path: every column of every item."""
    replay = replay_of(tasks)
    for i, success in enumerate([True, False, None, True]):
        add(replay, store, i, steps=3 + i, success=success)
    whole = store.source()
    index = transitions(whole, reward, GAMMA)
    size = replay.sizes()["online"]
    assert size == len(index)
    part = replay._growing[0]
    item = np.arange(size)
    columns = part.columns(item)
    assert np.array_equal(columns["proprio"], whole.proprio[index.row])
    assert np.array_equal(columns["next_proprio"], whole.proprio[index.next_row])
    assert np.array_equal(columns["action"], whole.actions[index.row])
    assert np.array_equal(columns["next_action"], whole.actions[index.next_row])
    for name in ("reward", "discount", "return_to_go"):
        assert np.array_equal(columns[name], getattr(index, name)), name


def test_the_return_of_an_online_episode_is_its_own(store, tasks) -> None:
    """PTR's labels: -1 a step and +10 at the success; the return of a failure is that of never succeeding."""
    replay = replay_of(tasks)
    add(replay, store, 0, steps=4, success=True)
    add(replay, store, 1, steps=4, success=False)
    returns = replay._growing[0].columns(np.arange(replay.sizes()["online"]))["return_to_go"]
    win = [-1 + GAMMA * (-1 + GAMMA * (-1 + GAMMA * 10)), -1 + GAMMA * (-1 + GAMMA * 10), -1 + GAMMA * 10, 10]
    assert returns[:4] == pytest.approx(win)
    assert returns[4:] == pytest.approx([-1 / (1 - GAMMA)] * 3)
    told = np.full(4, -1.0, np.float32)
    assert returns[4] == pytest.approx(return_to_go(told, np.zeros(4, bool), GAMMA, tail="sparse_negative")[0])


def test_shares_are_exact_in_the_long_run(tmp_path, store, tasks) -> None:
    demos = DemoStore.create(tmp_path / "demos", STATE)
    for i in range(3):
        demos.append(make_episode(100 + i))
    source = demos.source()
    replay = replay_of(
        tasks, {"offline": (source, 0.45), "target": (source, 0.2)}, online=0.25, interventions=0.1, batch_size=7
    )
    add(replay, store, 0, operator=["policy", "intervention", "intervention", "policy", "policy"])
    count = np.zeros(4)
    for number in range(400):
        which, _ = replay.draw(number, 1)
        count += np.bincount(which, minlength=4)
    assert np.abs(count - 2800 * np.array([0.45, 0.2, 0.25, 0.1])).max() <= 3


def test_interventions_are_a_source_of_their_own_only_with_a_share(store, tasks) -> None:
    operator = ["policy", "intervention", "intervention", "policy", "policy"]
    apart, together = replay_of(tasks, online=0.5, interventions=0.5), replay_of(tasks)
    name = store.append(make_episode(0, operator=operator))
    for replay in (apart, together):
        replay.append(store.read(name), store.path / name)
    assert apart.sizes() == {"online": 3, "interventions": 2}
    assert together.sizes() == {"online": 5, "interventions": 0}
    which, item = apart.draw(0, 1)
    rows = apart._growing[1].columns(item[which == 1])["proprio"][:, 1]
    assert set(rows) <= {1.0, 2.0}


def test_what_has_nothing_yet_leaves_its_place_to_the_others_in_proportion(tmp_path, store, tasks) -> None:
    demos = DemoStore.create(tmp_path / "demos", STATE)
    demos.append(make_episode(100))
    source = demos.source()
    replay = replay_of(tasks, {"offline": (source, 0.4), "target": (source, 0.2)}, online=0.4, batch_size=9)
    before = sum(np.bincount(replay.draw(n, 0)[0], minlength=3) for n in range(20))
    add(replay, store, 0)
    after = sum(np.bincount(replay.draw(n, 1)[0], minlength=3) for n in range(20))
    assert list(before[:3]) == [120, 60, 0]
    assert np.abs(after[:3] - np.array([72, 36, 72])).max() <= 1


def test_no_batch_draws_from_an_episode_before_it_came(store, tasks) -> None:
    with replay_of(tasks, prefetch=4, threads=2) as replay:
        seen = []
        for i in range(4):
            add(replay, store, i)
            seen += [set(next(replay).proprio[:, 0]) for _ in range(3)]
    for k, numbers in enumerate(seen):
        assert numbers <= set(range(k // 3 + 1))
    assert 3.0 in set.union(*seen[9:])  # and uses it at once, though batches were prepared ahead


def test_batches_follow_from_seed_number_and_known_episodes_alone(store, tasks) -> None:
    """A run that is cut at any update and resumed from the order of arrivals draws the same samples."""
    arrivals = {0: 0, 2: 1, 3: 2, 7: 3}  # update -> episode
    with replay_of(tasks) as whole:
        expected = []
        for update in range(10):
            if update in arrivals:
                add(whole, store, arrivals[update])
            expected.append(next(whole))
    for cut in (0, 1, 3, 4, 9):
        with replay_of(tasks) as again:
            before = [u for u in arrivals if u < cut]
            for update in before:
                name = f"{arrivals[update]:06d}"
                again.append(store.read(name), store.path / name)
            again.seek(cut)
            for update in range(cut, 10):
                if update in arrivals and update not in before:
                    name = f"{arrivals[update]:06d}"
                    again.append(store.read(name), store.path / name)
                batch = next(again)
                assert np.array_equal(batch.proprio, expected[update].proprio)
                assert np.array_equal(batch.sample_key, expected[update].sample_key)
                assert np.array_equal(batch.return_to_go, expected[update].return_to_go)


def test_frames_come_from_the_episode_they_belong_to(tmp_path, tasks) -> None:
    stores = [DemoStore.create(tmp_path / name, PIXELS, codec="png") for name in ("a", "b")]
    replay = replay_of(tasks, spec=PIXELS, cameras=("primary",), size=(8, 8), batch_size=32)
    raw = {}
    for i in range(4):
        raw[i] = make_episode(i, spec=PIXELS).images["primary"]
        add(replay, stores[i % 2], i)
    batch = replay.batch(0, 4)
    for k in range(32):
        number, step = map(int, batch.proprio[k])
        assert np.array_equal(batch.images["primary"][k], raw[number][step])
        number, step = map(int, batch.next_proprio[k])
        assert np.array_equal(batch.next_images["primary"][k], raw[number][step])


def test_a_frame_that_is_damaged_later_names_its_episode(tmp_path, tasks) -> None:
    store = DemoStore.create(tmp_path / "a", PIXELS)
    replay = replay_of(tasks, spec=PIXELS, cameras=("primary",), size=(8, 8))
    add(replay, store, 0)
    path = store.path / "000000" / "images_primary" / "c.0"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DataError, match=r"a frame of .*000000 \(camera 'primary'\) is damaged"):
        replay.batch(0, 1)


def test_appending_costs_the_episode_not_the_store(tmp_path, tasks) -> None:
    """Reading 200 of 4,000 episodes back must not cost more late than early: twenty times the episodes, under thrice the time."""
    store = DemoStore.create(tmp_path / "s", STATE)
    name = store.append(make_episode(0, steps=20))
    episode, folder = store.read(name), store.path / name
    replay = replay_of(tasks)

    def hundred() -> float:
        began = time.process_time()
        for _ in range(100):
            replay.append(episode, folder)
        return time.process_time() - began

    early = min(hundred() for _ in range(3))
    for _ in range(3000):
        replay.append(episode, folder)
    assert min(hundred() for _ in range(3)) < 5 * early


def test_columns_that_grow_keep_what_readers_hold() -> None:
    column = Column((2,), np.float32)
    column.extend(np.ones((1000, 2)))
    held = column.values
    column.extend(np.full((1000, 2), 7.0))
    assert held.shape == (1000, 2)
    assert (held == 1).all()
    assert len(column) == 2000
    assert (column.values[1000:] == 7).all()


def test_what_cannot_be_used_is_refused_and_not_appended(store, tasks) -> None:
    replay = replay_of(tasks)
    with pytest.raises(UserError, match="task 'fly' is not in the run's task table"):
        add(replay, store, 0, task="fly")
    with pytest.raises(DataError, match="no transition to train on"):
        add(replay, store, 1, steps=1, success=False)
    assert replay.episodes == 0
    assert not replay.ready
    with pytest.raises(UserError, match="nothing to learn from yet"):
        next(replay)


def test_shares_must_be_a_whole_batch_and_sources_of_one_robot(tmp_path, tasks) -> None:
    with pytest.raises(UserError, match="add up to 1"):
        replay_of(tasks, online=0.5)
    other = type(STATE)(**{**STATE.to_json(), "action_names": ("a", "b")})
    source = DemoStore.create(tmp_path / "other", other).source()
    with pytest.raises(MismatchError, match="action_names differ"):
        replay_of(tasks, {"offline": (source, 0.5)}, online=0.5)


def test_frames_of_the_test_store_are_lossless(tmp_path) -> None:
    store = DemoStore.create(tmp_path / "a", PIXELS, codec="png")
    name = store.append(make_episode(0, spec=PIXELS))
    frames = store.read(name).images["primary"]
    assert np.array_equal(decode(frames, (8, 8)), make_episode(0, spec=PIXELS).images["primary"])
