import numpy as np
import pytest

from robot_pt.errors import MismatchError
from robot_pt.schema import Episode, Spec
from robot_pt.simulated import (
    conflict,
    from_json,
    merged,
    require_of_store,
    require_one,
    to_json,
    told,
    version_in,
    versions_of,
)
from robot_pt.sources import Concat, filter_episodes
from robot_pt.store import DemoStore

SPEC = Spec(cameras={}, embodiment="arm")


def store(path, *recorded):
    """A store of an episode for each (dataset, metadata)."""
    demos = DemoStore.create(path, SPEC)
    for dataset, metadata in recorded:
        last = np.array([False, True])
        demos.append(
            Episode(
                spec=SPEC, images={}, proprio=np.zeros((2, 7), np.float32), actions=np.zeros((2, 7), np.float32),
                rewards=np.zeros(2, np.float32), terminated=last, truncated=np.zeros(2, bool), task="lift", success=True,
                dataset=dataset, metadata=metadata,
            )
        )  # fmt: skip
    return demos


def kitchen(version):
    return "kitchen", {"controller": {"twin": version}, "versions": {"robosuite": "1.5.2", "mujoco": "3.8.1"}}


@pytest.mark.parametrize(
    ("dataset", "metadata", "version"),
    [
        (*kitchen(2), ("kitchen", "2")),
        ("renamed", kitchen(2)[1], ("kitchen", "2")),
        ("robosuite", {"controller": {"law": "osc"}, "versions": {"robosuite": "1.5.2"}}, ("robosuite", "1.5.2")),
        ("robosuite", {"versions": {"robosuite": ""}}, None),
        ("point-maze", {"controller": {}, "versions": {"robosuite": "1.5.2"}}, None),  # installed, and not what played
        ("recorded", {"controller": "impedance", "versions": "3"}, None),
        ("bridge", {}, None),
        ("recorded", told(("robosuite", "1.5.2")), ("robosuite", "1.5.2")),
        ("kitchen", {**kitchen(1)[1], **told(("kitchen", "2"))}, ("kitchen", "2")),
        ("recorded", told(None), None),
        ("recorded", {"simulator": {"name": "kitchen"}}, None),
        ("recorded", {"simulator": "kitchen 2"}, None),
    ],
)
def test_an_episode_says_its_simulator_where_one_recorded_it(dataset, metadata, version):
    assert version_in(dataset, metadata) == version


def test_versions_are_those_of_the_episodes_that_are_there(tmp_path):
    old = store(tmp_path / "old", kitchen(1), kitchen(2), ("robot", {})).source()
    new = store(tmp_path / "new", kitchen(3), ("robosuite", {"versions": {"robosuite": "1.4"}})).source()
    assert versions_of(old) == {"kitchen": {"1", "2"}}
    both = Concat([old, new])
    assert versions_of(both) == {"kitchen": {"1", "2", "3"}, "robosuite": {"1.4"}}
    graph = store(tmp_path / "graph", ("recorded", told(("kitchen", "4"))), ("mine", told(("kitchen", "5")))).source()
    assert versions_of(graph) == {"kitchen": {"4", "5"}}
    some = filter_episodes(both, lambda table, e: e in (1, 2))
    assert versions_of(some) == {"kitchen": {"2"}}


def test_what_keeps_no_records_tells_of_the_whole(tmp_path):
    source = store(tmp_path / "new", kitchen(3), kitchen(3)).source()

    class Cache:
        spec, episodes = source.spec, source.episodes
        proprio, actions, rewards = source.proprio, source.actions, source.rewards
        terminated, truncated = source.terminated, source.truncated
        simulators = from_json({"kitchen": ["7"]})

        def images(self, steps, camera, size=None):
            raise AssertionError("no image is needed")

    assert versions_of(Concat([Cache(), source])) == {"kitchen": {"3", "7"}}
    del Cache.simulators
    assert versions_of(Cache()) == {}


def test_json_keeps_it_and_takes_anything():
    versions = {"robosuite": frozenset(["1.4", "1.5"]), "kitchen": frozenset(["2"])}
    assert to_json(versions) == {"kitchen": ["2"], "robosuite": ["1.4", "1.5"]}
    assert from_json(to_json(versions)) == versions
    for nothing in (None, [], "kitchen", {"kitchen": "2"}):
        assert from_json(nothing) == {}


def test_two_versions_of_one_simulator_are_a_conflict_and_two_simulators_are_none():
    two, also_two = {"kitchen": frozenset(["2"])}, {"kitchen": frozenset(["2"]), "robosuite": frozenset(["1.5.2"])}
    assert conflict({"a": two, "b": also_two, "robot": {}}) is None
    assert merged([two, also_two]) == also_two
    require_one({"a": two, "b": also_two}, "mend it")
    with pytest.raises(MismatchError) as raised:
        require_one({"a": two, "b": also_two, "c": {"kitchen": frozenset(["3"])}}, "mend it")
    assert str(raised.value) == (
        "a was recorded in version 2 of the kitchens and c in version 3, where the same actions end elsewhere; mend it."
    )
    found = conflict({"one store": {"kitchen": frozenset(["1", "2"])}})
    assert found is not None
    assert found.startswith("one store was recorded in version 1 of the kitchens and one store in version 2")


def test_a_store_takes_one_version_of_a_simulator_and_any_other_simulator():
    stored = {"kitchen": frozenset(["2"])}
    for here in (None, ("kitchen", "2"), ("robosuite", "1.5.2")):
        require_of_store("demos", stored, here, "mend it")
    with pytest.raises(MismatchError) as raised:
        require_of_store("demos", stored, ("kitchen", "3"), "mend it")
    assert str(raised.value) == (
        "demos was recorded in version 2 of the kitchens and this is version 3, where the same actions end elsewhere; mend it."
    )
    with pytest.raises(MismatchError, match="version 1 of shop and this is version 2"):
        require_of_store("demos", {"shop": frozenset(["1", "2"])}, ("shop", "2"), "mend it")
