"""The policy node's parameters become a policy, a robot and limits; what cannot be meant is one sentence at configure."""

import re
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from robot_pt import checkpoint, robots
from robot_pt.agents.bc import BC, BCConfig
from robot_pt.errors import UserError
from robot_pt.gate import GateLimits
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.policy_record import PolicyRecord
from robot_pt.schema import Spec
from robot_pt.session import StepLimits, step_lengths
from robot_pt.tasks import TaskTable
from robot_pt_ros import policy_parameters as p
from robot_pt_ros.policy_node import PolicyNode

DOMAIN = 101
CONFIG = Path(__file__).parents[2] / "ros_nodes" / "config"
SPEC = Spec(cameras={"primary": (32, 32)}, embodiment="panda")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run trained on steps of 6.9 cm and 0.1 rad, half of them, and of nothing."""
    folder, tasks = tmp_path_factory.mktemp("run"), TaskTable.of(["lift"])
    agent = BC.build(
        SPEC, cameras=["primary"], image_size=(16, 16), task_slots=tasks.slots, seed=1,
        encoder=EncoderConfig(name="small"), config=BCConfig(head="tanh_gaussian"),
    )  # fmt: skip
    actions = np.zeros((1000, 7))
    actions[::2, :3], actions[::2, 3] = 0.04, 0.1
    rows = [{"name": "long", "step_lengths": step_lengths(actions)}]
    record = PolicyRecord.of(agent="bc", network=agent.actor.config, spec=SPEC, tasks=tasks, data=rows)
    checkpoint.save(folder, 0, agent, record, {})
    return folder


@pytest.fixture
def node(graph):
    """A plain node with the policy's parameters, given by name."""

    def make(**given):
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        made = graph.node(parameter_overrides=overrides)
        p.declare(made)
        return made

    return make


def test_without_limits_they_are_those_of_simulation(node):
    arm = robots.load("panda")
    usual = GateLimits.for_robot(arm)
    assert p.step_limits(node(), arm) == StepLimits(usual.max_step_m, usual.max_step_rad)


def test_limits_are_taken_one_by_one(node):
    arm = robots.load("wx250s")
    assert p.step_limits(node(max_step_translation_m=0.02), arm) == StepLimits(
        0.02, GateLimits.for_robot(arm).max_step_rad
    )
    assert p.step_limits(node(max_step_rotation_rad=0.1), arm).max_step_rad == 0.1


@pytest.mark.parametrize("robot", ["wx250s", "ros2_control", "franka"])
def test_a_real_arm_has_the_supervisors_limits_and_looks_for_frozen_cameras(robot):
    """Both sections of its file name the same numbers."""
    text = (CONFIG / f"{robot}.yaml").read_text()
    for name in ("max_step_translation_m", "max_step_rotation_rad"):
        first, second = re.findall(rf"{name}: ([\d.]+)", text)
        assert first == second
    assert float(re.findall(r"max_frozen_s: ([\d.]+)", text)[0]) > 0


@pytest.mark.parametrize(("given", "expected"), [(0.0, None), (0.7, 0.7)])
def test_frozen_cameras_are_looked_for_when_asked(node, given, expected):
    assert p.session_settings(node(max_frozen_s=given)).max_frozen_s == expected


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"max_frozen_s": -1.0}, "max_frozen_s"),
        ({"max_frozen_s": nan}, "max_frozen_s"),
        ({"max_obs_age_s.image": 0.0}, "max_obs_age_s of image"),
        ({"max_obs_age_s.joint": nan}, "max_obs_age_s of joint"),
        ({"sync_slop_s": -0.1}, "sync_slop_s"),
        ({"sync_policy": "soon"}, "sync_policy"),
        ({"inference_mode": "both"}, "inference_mode"),
    ],
)
def test_settings_that_cannot_be_meant(node, given, word):
    with pytest.raises(UserError, match=word):
        p.session_settings(node(**given))


@pytest.mark.parametrize(
    "given", [{"max_step_translation_m": 0.0}, {"max_step_rotation_rad": -0.1}, {"max_step_rotation_rad": inf}]
)
def test_limits_that_cannot_be_meant(node, given):
    with pytest.raises(UserError, match="gate limit max_step_"):
        p.step_limits(node(**given), robots.load("panda"))


def test_no_checkpoint_is_one_sentence(node):
    with pytest.raises(UserError, match="checkpoint is empty"):
        p.load_policy(node())


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta", ""])
def test_a_device_that_cannot_compute_is_one_sentence(node, run, device):
    with pytest.raises(UserError, match=f"device is '{device}', which torch cannot use here .*; give cpu") as raised:
        p.load_policy(node(checkpoint=str(run), device=device))
    assert "\n" not in str(raised.value)
    assert p.load_policy(node(checkpoint=str(run), device="cpu:0")).spec.embodiment == "panda"


def test_a_camera_without_a_topic_is_named(node):
    with pytest.raises(UserError, match="looks at camera 'primary'"):
        p.robot_spec(node(cameras=["wrist=side"]), SPEC)
    for shown, simulated in ((["wrist"], False), ([""], True), (["wrist", "primary"], True)):
        p.robot_spec(node(simulated_cameras=shown, simulated=simulated), SPEC)
    with pytest.raises(UserError) as raised:
        p.robot_spec(node(simulated_cameras=["wrist"], simulated=True), SPEC)
    assert str(raised.value) == (
        "the policy looks at camera 'primary', and the simulator shows ['wrist']; give cameras:='[primary]'."
    )
    looks = SimpleNamespace(record=SimpleNamespace(cameras=("primary",), image_size=(64, 96)))
    for size, simulated in (([64, 96], True), ([480, 640], True), ([0, 0], True), ([32, 32], False)):
        p.require_detail(node(image_size=size, simulated=simulated), looks)
    for size in ([63, 96], [64, 95], [32, 640]):
        with pytest.raises(UserError, match=r"of 64x96 and the simulator shows .*; give image_size:='\[64, 96\]'"):
            p.require_detail(node(image_size=size, simulated=True), looks)
        for sightless in (object(), SimpleNamespace(record=SimpleNamespace(cameras=(), image_size=(64, 96)))):
            p.require_detail(node(image_size=size, simulated=True), sightless)
    for size in ([64], [64, 64, 3], [-1, 64]):
        with pytest.raises(UserError, match="give height and width"):
            p.robot_spec(node(image_size=size), SPEC)


def test_the_robot_is_what_the_policy_was_trained_on_unless_given(node):
    assert p.robot_spec(node(robot="panda"), SPEC) == (SPEC, {"primary": "primary"})
    spec, cameras = p.robot_spec(
        node(robot="wx250s", cameras=["primary=front"], image_size=[48, 64], control_rate_hz=2.5), SPEC
    )
    assert (spec.embodiment, spec.cameras, spec.control_hz) == ("widowx250s", {"primary": (48, 64)}, 2.5)
    assert cameras == {"primary": "front"}


@pytest.mark.parametrize(("longest_m", "configured"), [(0.05, False), (0.07, True)])
def test_a_policy_trained_on_longer_steps_does_not_configure(run, capfd, longest_m, configured):
    given = {"checkpoint": run, "robot": "panda", "warmup_iters": 1, "max_step_translation_m": longest_m}
    words = [word for name, value in given.items() for word in ("-p", f"{name}:={value}")]
    rclpy.init(args=["test", "--ros-args", *words], domain_id=DOMAIN)
    node = PolicyNode()
    try:
        wanted = TransitionCallbackReturn.SUCCESS if configured else TransitionCallbackReturn.FAILURE
        assert node.trigger_configure() == wanted
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    said = capfd.readouterr().err
    assert ("50.0% of the actions" in said) != configured
    assert ("raise max_step_translation_m" in said) != configured
    assert "Traceback" not in said
