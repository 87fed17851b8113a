"""A Panda in a robosuite scene behind the `Simulator` protocol: canonical actions in, canonical observations out, 5 Hz.

robosuite builds the scene and places its objects; stepping is done here on raw MuJoCo, which is what makes it fast:
robosuite evaluates its controller and all observables in Python at each of the 100 physics steps of a control step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robot_pt.errors import UserError
from robot_pt.robots import load
from robot_pt.rotations import Array
from robot_pt.schema import PROPRIO_NAMES, Float, Observation, Spec
from robot_pt.simulator import StepResult
from robot_pt.targets import TargetIntegrator
from robot_pt_sim.arm_episode import HOLD_STEPS, SETTLE_S, Progress, described, frames, observation, require_cameras
from robot_pt_sim.installation import ROBOSUITE, about, import_robosuite
from robot_pt_sim.osc import OperationalSpaceController
from robot_pt_sim.rendering import CameraRenderer
from robot_pt_sim.scene import LEFT_FINGER, RIGHT_FINGER, Pose, SceneReader, SceneState
from robot_pt_sim.tasks import Task, View

CONTROL_HZ = 5.0
PHYSICS_HZ = 500
"""robosuite steps MuJoCo by 2 ms."""
TORQUE_EVERY = 5
"""Physics steps (2 ms) per evaluation of the torque law: 100 Hz; measured against 500 Hz in tests/sim/test_panda.py."""
FINGER_STROKE = 0.04
"""Travel of one finger [m]."""
FINGER_SPEED = 0.08
"""Speed of the commanded opening per finger [m/s]: robosuite's gripper at its usual 20 Hz, full stroke in 0.5 s."""
_DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
"""Grip site of robosuite's Panda in the base frame when it points straight down: the tool's zero rotation."""


class PandaSimulator:
    """One robosuite scene with one task. Deterministic given the seed of `reset`, whatever was run before."""

    release = ("robosuite", ROBOSUITE)

    def __init__(
        self,
        task: Task,
        *,
        cameras: Sequence[str] = ("primary",),
        image_size: tuple[int, int] = (64, 64),
        render: bool = True,
        hold_steps: int = HOLD_STEPS,
        torque_every: int = TORQUE_EVERY,
        control_hz: float = CONTROL_HZ,
        camera_every: int = 1,
    ):
        """`image_size` = (height, width) [px]; `render` False gives black images, for tests of physics alone.

        No camera: observations hold no image and the proprio goes on with the positions of the task's objects (`state_spec`).

        A `control_hz` above 5 makes steps shorter, for a robot's runtime that runs in real time: horizon and success keep their
        duration. Then `camera_every` says in which of them cameras take a frame; observations between have no images.

        Raises UserError for an unknown camera role, a rate that physics cannot be cut into, or a missing installation.
        """
        slices, torques = control_hz / CONTROL_HZ, PHYSICS_HZ / control_hz / torque_every
        if slices < 1 or slices % 1 or torques < 1 or torques % 1 or camera_every < 1:
            raise UserError(
                f"control_hz is {control_hz:g} and camera_every {camera_every}; give 5, 10, 20, 25, 50 or 100 Hz, and at least 1."
            )
        self.spec = panda_spec(cameras, image_size, control_hz) if cameras else state_spec(task, control_hz)
        self.task, self.instruction, self.horizon = task.name, task.instruction, task.horizon * int(slices)
        self.definition = task
        self._progress, self._torque_every = Progress(hold_steps * int(slices), self.horizon), torque_every
        self._torques, self._camera_every = int(torques), camera_every
        render = render and bool(cameras)
        self._env = _build_environment(task, render)
        self._model, self._data = self._env.sim.model._model, self._env.sim.data._data
        self._wire_robot()
        self._arm = load("panda")
        self._cameras = {role: self._place_camera(task.views[role]) for role in cameras}
        self._renderer = CameraRenderer(self._model, image_size, list(self._cameras.values())) if render else None
        self._integrator = TargetIntegrator(task.limits)
        self._seed: int | None = None
        self._start: dict[str, Any] = {}

    def _wire_robot(self) -> None:
        robot = self._env.robots[0]
        self._base = Pose(np.array(robot.base_pos), np.array(robot.base_ori))
        self._arm_qpos = list(robot._ref_joint_pos_indexes)
        self._arm_actuators = list(robot._ref_arm_joint_actuator_indexes)
        self._fingers = list(robot._ref_gripper_joint_pos_indexes["right"])
        self._finger_actuators = list(robot._ref_joint_gripper_actuator_indexes["right"])
        self._site = robot.eef_site_id["right"]
        self._controller = OperationalSpaceController(
            self._model,
            site=self._site,
            dofs=robot._ref_joint_vel_indexes,
            qpos=self._arm_qpos,
            actuators=self._arm_actuators,
            rest_joints=np.array(robot.init_qpos),
        )
        fingers = robot.gripper["right"].important_geoms
        self._scene = SceneReader(
            self._model,
            base=self._base,
            places=self.definition.places,
            joints=self.definition.joints,
            geoms={LEFT_FINGER: fingers[LEFT_FINGER], RIGHT_FINGER: fingers[RIGHT_FINGER], **self.definition.geoms},
        )

    def _place_camera(self, view: View) -> int:
        import mujoco

        camera = int(mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA, view.camera))
        assert camera >= 0, f"{self.task} has no camera {view.camera}"
        if view.position is not None:
            position = self._base.position + self._base.rotation @ np.array(view.position)
            target = self._base.position + self._base.rotation @ np.array(view.look_at)
            quaternion = np.zeros(4)
            mujoco.mju_mat2Quat(quaternion, _looking_at(position, target).ravel())
            self._model.cam_pos[camera], self._model.cam_quat[camera] = position, quaternion
            self._model.cam_fovy[camera] = view.fovy
        return camera

    def reset(self, seed: int) -> Observation:
        """Place everything as `seed` says, let it settle, and return the first observation."""
        import mujoco

        _reseed(self._env, seed)
        self._env.reset()
        _park_unused_objects(self._env)
        self._opening = 1.0
        self._data.qpos[self._fingers] = (FINGER_STROKE, -FINGER_STROKE)
        mujoco.mj_forward(self._model, self._data)
        self._integrator.reset(self._tool().position, np.eye(3))
        for _ in range(round(SETTLE_S * PHYSICS_HZ / self._torque_every)):
            self._advance()
        mujoco.mj_forward(self._model, self._data)
        self._integrator.reset(self._tool().position, np.eye(3))
        self._seed = seed
        self._progress.begin()
        self._start = self._describe()
        return self._observe()

    def step(self, action: Float) -> StepResult:
        """Apply one canonical action (7,) for one control period, 0.2 s. Raises UserError on NaN or Inf, or before the first reset."""
        import mujoco

        if self._seed is None:
            raise UserError("the simulator has not been reset; call reset(seed) before step(action).")
        sent = self._integrator.apply(action)
        for _ in range(self._torques):
            self._advance()
        mujoco.mj_forward(self._model, self._data)
        self._progress.step(self.definition.success(self.state()))
        return self._progress.result(self._observe(), sent)

    def state(self) -> SceneState:
        """The true state of the scene, for experts and success tests."""
        data = self._data
        return SceneState(
            tool=self._tool(),
            target=Pose(self._integrator.position.copy(), self._integrator.rotation.copy()),
            gripper=self._achieved_opening(),
            objects=self._scene.objects(data),
            joints=self._scene.joints(data),
            contacts=self._scene.contacts(data),
        )

    def truth(self) -> dict[str, Any]:
        """`state` as JSON values; `SceneState.from_json` reads it."""
        return self.state().to_json()

    def initial_conditions(self) -> dict[str, Any]:
        """Seed, and the poses of objects (position [m], roll pitch yaw [rad], base frame) at the first observation."""
        return dict(self._start)

    def about(self) -> dict[str, Any]:
        return about(self.release, self.controller_config())

    def controller_config(self) -> dict[str, Any]:
        """JSON values that fix how actions become motion."""
        limits = self.definition.limits
        return {
            "law": "operational space, absolute target, as robosuite OSC_POSE",
            "stiffness": self._controller.stiffness,
            "torque_hz": PHYSICS_HZ / self._torque_every,
            "control_hz": self.spec.control_hz,
            "finger_speed_m_s": FINGER_SPEED,
            "hold_steps": self._progress.hold_steps,
            "limits": {"low": list(limits.low), "high": list(limits.high)},
            "max_step": [limits.max_step_m, limits.max_step_rad],
        }

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
        self._env.close()

    def _advance(self) -> None:
        """One torque evaluation and the physics steps it is held for."""
        import mujoco

        model, data, target = self._model, self._data, self._integrator
        mujoco.mj_step1(model, data)
        data.ctrl[self._arm_actuators] = self._controller.torques(
            data,
            self._base.position + self._base.rotation @ target.position,
            self._base.rotation @ target.rotation @ _DOWN,
        )
        most = FINGER_SPEED / FINGER_STROKE * model.opt.timestep * self._torque_every
        self._opening += min(most, max(-most, target.gripper - self._opening))
        data.ctrl[self._finger_actuators] = (FINGER_STROKE * self._opening, -FINGER_STROKE * self._opening)
        mujoco.mj_step2(model, data)
        if self._torque_every > 1:
            mujoco.mj_step(model, data, nstep=self._torque_every - 1)

    def _tool(self) -> Pose:
        pose = self._scene.in_base(self._data.site_xpos[self._site], self._data.site_xmat[self._site])
        return Pose(pose.position, pose.rotation @ _DOWN.T)

    def _achieved_opening(self) -> float:
        left, right = self._data.qpos[self._fingers]
        return float(np.clip((left - right) / (2 * FINGER_STROKE), 0.0, 1.0))

    def _observe(self) -> Observation:
        q = np.array(self._data.qpos[self._arm_qpos])
        cameras = self._cameras if self._progress.steps % self._camera_every == 0 else {}
        images = frames(self._renderer, self._data, cameras, self.spec.cameras)
        objects = {} if self._cameras else self._scene.objects(self._data)
        shown = () if self._cameras else [objects[place] for place in self.definition.places]
        return observation(self._arm, q, self._achieved_opening(), images, self._data.time, shown)

    def _describe(self) -> dict[str, Any]:
        return {"seed": self._seed, "task": self.task, **described(self.state())}


def panda_spec(cameras: Sequence[str], image_size: tuple[int, int], control_hz: float = CONTROL_HZ) -> Spec:
    """What episodes of this simulator look like. Raises UserError for an unknown camera role or a silly size."""
    require_cameras(cameras, image_size)
    return Spec(cameras=dict.fromkeys(cameras, image_size), embodiment="panda", control_hz=control_hz)


def state_spec(task: Task, control_hz: float = CONTROL_HZ) -> Spec:
    """Episodes without cameras: the proprio is followed by x, y, z [m, base frame] of the task's places, e.g. "cube_x"."""
    seen = tuple(f"{place}_{axis}" for place in task.places for axis in "xyz")
    return Spec(cameras={}, embodiment="panda", control_hz=control_hz, proprio_names=(*PROPRIO_NAMES, *seen))


def _build_environment(task: Task, render: bool) -> Any:
    robosuite = import_robosuite(render)
    env = robosuite.make(
        task.environment,
        robots="Panda",
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        use_object_obs=False,
        renderer="mujoco",
        control_freq=CONTROL_HZ,
        hard_reset=False,
        seed=0,  # object sizes are drawn when the model is built: every process gets the same model
        **task.options,
    )
    sampler = env.placement_initializer
    if task.ranges is not None:
        sampler.x_range, sampler.y_range, sampler.rotation = task.ranges
    if task.placement_m is not None:
        sampler.x_range = sampler.y_range = (-task.placement_m, task.placement_m)
    if task.yaw_rad is not None:
        sampler.rotation = (-task.yaw_rad, task.yaw_rad)
    if task.colour is not None:
        model = env.sim.model._model
        geoms = np.flatnonzero(model.geom_bodyid == env.cube_body_id)
        model.geom_matid[geoms], model.geom_rgba[geoms] = -1, (*task.colour, 1.0)
    return env


def _reseed(env: Any, seed: int) -> None:
    env.rng = np.random.default_rng(seed)
    sampler = env.placement_initializer
    for part in (sampler, *getattr(sampler, "samplers", {}).values()):
        part.rng = env.rng


def _park_unused_objects(env: Any) -> None:
    """robosuite drops the objects a single-object task does not use from 10 m; let them hover there instead."""
    for thing in getattr(env, "objects", ()):
        if thing.name != env.obj_to_use:
            env.sim.model._model.body_gravcomp[env.obj_body_id[thing.name]] = 1.0


def _looking_at(position: Array, target: Array) -> Array:
    """Camera rotation (3, 3) in MuJoCo's convention, -z towards the target, y up."""
    back = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back], axis=1)
