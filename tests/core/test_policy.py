import contextlib
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt import checkpoint
from robot_pt.agents.bc import BC, BCConfig
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.images import decode, encode_jpeg, encode_png
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.policy import Policy
from robot_pt.policy_record import PolicyRecord, version_of
from robot_pt.schema import Observation, Spec
from robot_pt.tasks import TaskTable

SPEC = Spec(cameras={"primary": (128, 128), "wrist": (128, 128)}, embodiment="widowx250s")
SIZE = (32, 32)


def checkpoint_of(run, *, tasks=("lift", "stack"), language=0, cameras=("primary",), spec=SPEC):
    table = TaskTable.of(tasks)
    agent = BC.build(
        spec, cameras=cameras, image_size=SIZE, task_slots=table.slots, language_size=language, seed=1,
        encoder=EncoderConfig(name="small", latent=16), config=BCConfig(head="tanh_gaussian", std="state"),
    )  # fmt: skip
    with torch.no_grad():
        agent.actor.mean.weight.mul_(100)  # fresh heads answer nearly the same to everything
    record = PolicyRecord.of(agent="bc", network=agent.actor.config, spec=spec, tasks=table, data=[{"name": "toy"}])
    checkpoint.save(run, 7, agent, record, {})
    return agent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    checkpoint_of(folder)
    return folder


def frame(seed=0, size=(128, 128)):
    """Smooth, as photographs are: noise scaled up."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.float64)
    rows, columns = np.linspace(0, 7, size[0]), np.linspace(0, 7, size[1])
    up = np.stack([np.interp(rows, range(8), small[:, i, c]) for i in range(8) for c in range(3)], -1)
    up = up.reshape(size[0], 8, 3)
    full = np.stack([np.stack([np.interp(columns, range(8), r[:, c]) for c in range(3)], -1) for r in up])
    return full.astype(np.uint8)


def observe(image=None, **changes):
    values = {
        "images": {"primary": frame() if image is None else image},
        "proprio": np.linspace(0, 0.6, 7, dtype=np.float32),
    }
    return Observation(**{**values, **changes})


def test_a_policy_gives_the_trained_networks_action_in_physical_units(run):
    agent, policy = checkpoint_of(run), Policy.load(run)
    policy.reset("stack")
    action = policy.act([observe()])
    assert action.shape == (1, 7)
    assert action.dtype == np.float32
    images = {"primary": torch.from_numpy(decode([encode_png(frame())], SIZE))}  # as a training source decodes it
    proprio = torch.from_numpy(observe().proprio)[None]
    want = agent.actor.eval().mode(images, proprio, torch.tensor([1]), torch.zeros(1, 0)).numpy()
    np.testing.assert_array_equal(action, want)
    low, high = (np.array(agent.actor.config["bounds"][n]) for n in ("low", "high"))
    assert ((action >= low - 1e-6) & (action <= high + 1e-6)).all()


def test_the_newest_observation_task_and_frame_all_count(run):
    policy = Policy.load(run)
    policy.reset("lift")
    one = policy.act([observe()])
    np.testing.assert_array_equal(policy.act([observe(frame(5)), observe()]), one)
    assert not np.allclose(policy.act([observe(frame(5))]), one)
    assert not np.allclose(policy.act([observe(proprio=np.ones(7, np.float32))]), one)
    policy.reset("stack")
    assert not np.allclose(policy.act([observe()]), one)
    policy.reset("lift")
    np.testing.assert_array_equal(policy.act([observe()]), one)


def test_serving_sees_the_pixels_of_training_to_a_stated_tolerance(run):
    """JPEG frames decoded at reduced scale in training, the camera's raw frames at serving: mean 2.5 levels of 255, and
    an action within 1 % of each dimension's range."""
    policy = Policy.load(run)
    policy.reset("lift")
    spans = np.subtract(policy.record.network["bounds"]["high"], policy.record.network["bounds"]["low"])
    for seed in range(5):
        raw = frame(seed, (480, 640))
        served = policy.act([observe(raw)])
        pixels = policy._pixels["primary"].copy()
        trained = decode([encode_jpeg(raw)], SIZE)[0]
        assert np.abs(pixels.astype(int) - trained).mean() < 2.5
        assert (np.abs(served - policy.act([observe(trained)])) < 0.01 * spans).all()


def test_two_cameras_of_other_sizes_and_read_only_frames(tmp_path):
    checkpoint_of(tmp_path, cameras=("primary", "wrist"))
    policy = Policy.load(tmp_path)
    policy.reset("lift")
    images = {"wrist": frame(1, (48, 64)), "primary": frame(2, SIZE), "secondary": frame(3)}
    for image in images.values():
        image.setflags(write=False)
    one = policy.act([observe(images=images)])
    swapped = {"wrist": images["primary"], "primary": images["wrist"]}
    assert not np.allclose(one, policy.act([observe(images=swapped)]))


def test_what_a_policy_says_of_itself(run):
    policy = Policy.load(run)
    assert policy.task_names == ("lift", "stack")
    assert policy.spec.embodiment == "widowx250s"
    assert dict(policy.spec.cameras) == {"primary": SIZE}
    assert policy.step == 7
    assert len(policy.version) == 16


def test_the_version_is_the_content(tmp_path):
    agent = checkpoint_of(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b", symlinks=True)
    assert Policy.load(tmp_path / "a").version == Policy.load(tmp_path / "b").version
    with torch.no_grad():
        agent.actor.mean.bias[0] += 1e-3
    checkpoint.save(tmp_path / "b", 7, agent, Policy.load(tmp_path / "b").record, {})
    assert Policy.load(tmp_path / "a").version != Policy.load(tmp_path / "b").version


def test_tasks_must_be_named_where_there_are_several(run, tmp_path):
    policy = Policy.load(run)
    with pytest.raises(UserError, match="call reset"):
        policy.act([observe()])
    with pytest.raises(UserError, match=r"knows 2 tasks; choose one of \['lift', 'stack'\]"):
        policy.reset(None)
    with pytest.raises(UserError, match="'dance' is not in the run's task table"):
        policy.reset("dance")
    checkpoint_of(tmp_path, tasks=["lift"])
    single = Policy.load(tmp_path)
    single.reset(None)
    assert single.act([observe()]).shape == (1, 7)


def test_language_takes_sentences_and_unseen_tasks(tmp_path):
    checkpoint_of(tmp_path / "deaf")
    assert not Policy.load(tmp_path / "deaf").hears
    checkpoint_of(tmp_path, language=32)
    policy = Policy.load(tmp_path)
    assert policy.hears
    policy.reset("lift")
    by_name = policy.act([observe()])
    policy.reset("lift", "lift")
    np.testing.assert_array_equal(policy.act([observe()]), by_name)
    policy.reset("lift", "raise the red cube")
    assert not np.allclose(policy.act([observe()]), by_name)
    policy.reset("put the spoon away")
    assert not np.allclose(policy.act([observe()]), by_name)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"images": {}}, "lacks camera 'primary'"),
        ({"images": {"primary": np.zeros((8, 8, 3), np.float32)}}, "give uint8"),
        ({"images": {"primary": np.zeros((8, 8), np.uint8)}}, "give uint8"),
        ({"images": {"primary": np.zeros((0, 8, 3), np.uint8)}}, "give uint8"),
        ({"proprio": np.zeros(6, np.float32)}, "give 7 finite numbers"),
        ({"proprio": np.full(7, np.nan, np.float32)}, "give 7 finite numbers"),
    ],
)
def test_observations_that_cannot_be_used_are_refused(run, change, match):
    policy = Policy.load(run)
    policy.reset("lift")
    with pytest.raises(UserError, match=match):
        policy.act([observe(**change)])


def test_no_observation_is_refused(run):
    policy = Policy.load(run)
    policy.reset("lift")
    with pytest.raises(UserError, match="without an observation"):
        policy.act([])


def test_weights_that_give_nan_never_reach_the_arm(tmp_path):
    agent = checkpoint_of(tmp_path)
    with torch.no_grad():
        agent.actor.mean.bias[2] = torch.nan
    checkpoint.save(tmp_path, 8, agent, Policy.load(tmp_path).record, {})
    policy = Policy.load(tmp_path)
    policy.reset("lift")
    with pytest.raises(DataError, match="nothing may move"):
        policy.act([observe()])


def robot(**changes):
    return Spec(**{**SPEC.to_json(), **changes})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"embodiment": "panda"},
            "checkpoint of another robot: it was trained for 'widowx250s' and would drive 'panda'",
        ),
        ({"cameras": {"wrist": (64, 64)}}, "looks at camera 'primary', the robot has"),
        ({"proprio_names": ("a", "b", "c", "d", "e", "f", "g")}, "the state differs"),
        ({"action_names": ("dx", "dy", "dz", "dqx", "dqy", "dqz", "gripper")}, "the action differs"),
        ({"action_source": "achieved"}, "the action convention differs"),
        ({"action_unit": "normalized"}, "only 'metric'"),
        ({"control_hz": 10.0}, "trained at 5 Hz, the robot is driven at 10 Hz"),
    ],
)
def test_a_mismatch_is_one_readable_sentence(run, changes, match):
    assert Policy.load(run, SPEC).executable
    with pytest.raises(MismatchError, match=match) as caught:
        Policy.load(run, robot(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("unit", ["normalized", "unknown"])
def test_actions_without_metres_are_never_executed(tmp_path, unit):
    checkpoint_of(tmp_path, spec=robot(action_unit=unit))
    with pytest.raises(MismatchError, match="no robot may execute"):
        Policy.load(tmp_path, SPEC)
    policy = Policy.load(tmp_path)
    policy.reset("lift")
    with pytest.raises(MismatchError, match="no robot may execute"):
        policy.act([observe()])
    analysis = Policy.load(tmp_path, for_analysis=True)
    analysis.reset("lift")
    assert analysis.act([observe()]).shape == (1, 7)


def rewritten(run, folder, change):
    """A copy of the checkpoint whose policy.json went through `change`, with its version made right again."""
    copy = folder / "copy"
    shutil.copytree(checkpoint.resolve(run), copy, dirs_exist_ok=True)
    document = json.loads((copy / "policy.json").read_text())
    change(document)
    document["version"] = version_of(document)
    (copy / "policy.json").write_text(json.dumps(document))
    return copy


HOSTILE = {
    "another format": lambda d: d.update(format_version=99),
    "no network": lambda d: d.pop("network"),
    "tasks are a list": lambda d: d.update(tasks=[]),
    "a spec without robot": lambda d: d["spec"].pop("embodiment"),
    "a spec of numbers": lambda d: d["spec"].update(embodiment=3),
    "cameras that are no sizes": lambda d: d["network"].update(image_size=["a", "b"]),
    "an image size of one number": lambda d: d["network"].update(image_size=[3]),
    "a terabyte of weights": lambda d: d["network"].update(hidden=[65_000] * 50),
    "a number out of proportion": lambda d: d["network"].update(task_slots=10**12),
    "a name out of proportion": lambda d: d["network"].update(std="x" * 5000),
    "a nest out of proportion": lambda d: d["network"].update(hidden=[[[[[[[[[1]]]]]]]]]),
    "more values than any network": lambda d: d["network"].update(hidden=[[1] * 200] * 200),
    "an unknown layer": lambda d: d["network"].update(eval="os.system('true')"),
    "an encoder from the network": lambda d: d["network"]["encoder"].update(name="timm:hf-hub:someone/something"),
    "an unknown encoder": lambda d: d["network"]["encoder"].update(name="resnet99"),
    "an encoder that is a number": lambda d: d["network"]["encoder"].update(name=7),
    "no bounds": lambda d: d["network"].update(bounds=None),
    "bounds of text": lambda d: d["network"]["bounds"].update(low=["a"] * 7),
    "negative sizes": lambda d: d["network"].update(hidden=[-5]),
    "no layers": lambda d: d["network"].update(hidden=[]),
    "other layers than the weights": lambda d: d["network"].update(hidden=[256, 256]),
    "a task table of another size": lambda d: d["tasks"].update(slots=25),
    "other actions than the network": lambda d: d["spec"].update(action_names=["dx"]),
    "a hash of other weights": lambda d: d.update(weights_sha256="0" * 64),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_or_hostile_description_is_a_sentence(run, tmp_path, name):
    copy = rewritten(run, tmp_path, HOSTILE[name])
    before = time.monotonic()
    with pytest.raises(DataError) as caught:
        Policy.load(copy)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - before < 20


def test_files_named_in_a_description_are_never_opened(run, tmp_path):
    def point_elsewhere(document):
        document["network"]["encoder"]["weights"] = "/etc/passwd"

    policy = Policy.load(rewritten(run, tmp_path, point_elsewhere))
    policy.reset("lift")
    assert policy.act([observe()]).shape == (1, 7)


def test_an_edited_description_is_noticed(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint.resolve(run), copy)
    text = (copy / "policy.json").read_text()
    (copy / "policy.json").write_text(text.replace("widowx250s", "panda"))
    with pytest.raises(DataError, match="changed after it was written"):
        Policy.load(copy)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_change_of_one_value_crashes_the_loader(run, tmp_path_factory, data):
    junk = st.one_of(st.none(), st.booleans(), st.integers(-5, 300), st.floats(allow_nan=False), st.text(max_size=5),
                     st.lists(st.integers(-3, 9), max_size=8), st.just({}))  # fmt: skip

    def change(document):
        place = document
        while True:
            key = data.draw(st.sampled_from(sorted(place)))
            if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
                break
            place = place[key]
        if key != "version":
            place[key] = data.draw(junk)

    copy = rewritten(run, tmp_path_factory.mktemp("fuzz"), change)
    with contextlib.suppress(DataError):  # anything else fails the test
        policy = Policy.load(copy)
        with contextlib.suppress(UserError):  # no task is left in the table
            policy.reset("lift" if "lift" in policy.task_names else None)


@pytest.mark.parametrize("keep", [0, 4, 100, 5000])
def test_cut_weights_are_a_sentence(run, tmp_path, keep):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint.resolve(run), copy)
    content = (copy / "weights.safetensors").read_bytes()
    (copy / "weights.safetensors").write_bytes(content[:keep])
    with pytest.raises(DataError, match="damaged"):
        Policy.load(copy)
    (copy / "weights.safetensors").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        Policy.load(copy)


def test_a_folder_without_policy_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match="no checkpoint"):
        Policy.load(tmp_path)


def test_loading_leaves_the_random_numbers_alone(run):
    before = torch.get_rng_state()
    Policy.load(run)
    assert torch.equal(before, torch.get_rng_state())


def test_the_runtime_needs_neither_agents_nor_readers(run):
    code = f"""
import sys
from robot_pt.policy import Policy
Policy.load({str(run)!r})
heavy = ("zarr", "robot_pt.agents", "robot_pt.replay", "robot_pt.train", "robot_pt.store", "robot_pt_data", "tensorflow",
         "tensorboard", "sympy", "torch._dynamo")
sys.exit(", ".join(m for m in sys.modules if m in heavy) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
