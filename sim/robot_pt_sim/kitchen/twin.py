"""The twin of BridgeData's robot behind the `Simulator` protocol: 5 Hz, its actions, its proprio, its cameras, on raw MuJoCo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robot_pt.errors import UserError
from robot_pt.robots import BRIDGE_ACTION_FRAME, load
from robot_pt.robots.model import import_mujoco
from robot_pt.rotations import Array
from robot_pt.schema import PROPRIO_NAMES, Float, Observation, Spec
from robot_pt.simulator import StepResult
from robot_pt.targets import TargetIntegrator
from robot_pt_sim.arm_episode import HOLD_STEPS, SETTLE_S, Progress, described, frames, observation, require_cameras
from robot_pt_sim.experts import UNREACHED_M
from robot_pt_sim.installation import about
from robot_pt_sim.kitchen import seen, spawn
from robot_pt_sim.kitchen.fixtures import FIXTURES, HANDLE, JOINT
from robot_pt_sim.kitchen.layouts import find_layout
from robot_pt_sim.kitchen.look import Look
from robot_pt_sim.kitchen.matter import Matter
from robot_pt_sim.kitchen.model import ROBOT, TIMESTEP_S, kitchen_xml
from robot_pt_sim.kitchen.servo import FINGERS, PEAK, JointProfile, finger_goal
from robot_pt_sim.kitchen.tasks import KitchenTask
from robot_pt_sim.kitchen.things import THINGS
from robot_pt_sim.rendering import CameraRenderer, choose_backend
from robot_pt_sim.scene import LEFT_FINGER, RIGHT_FINGER, Pose, SceneReader, SceneState

CONTROL_HZ = 5.0
RATES_HZ = (5, 10, 20, 25, 50, 100)
SUBSTEPS = 5
"""Time steps that the servos run natively between two set points: 20 ms."""
START_SHARE = 0.04
"""A fixture starts so near to its place, as a share of its range."""
SLEEP_M_S = 5e-4
"""Things that move no faster for a while are at rest [m/s], [rad/s]."""
TWIN_VERSION = 2
"""Counts up with every change that makes the same actions, as episodes keep them, end elsewhere; those were within the limits of their time."""
EMBODIMENT = "widowx250s"


class KitchenSimulator:
    """One task in one kitchen. Deterministic given the seed of `reset`, whatever was run before.

    Attributes:
        unreached: control steps of this episode whose target inverse kinematics could not reach within 5 mm.
    """

    release = ("kitchen", str(TWIN_VERSION))

    def __init__(
        self,
        task: KitchenTask,
        *,
        cameras: Sequence[str] = ("primary",),
        image_size: tuple[int, int] = (64, 64),
        render: bool = True,
        hold_steps: int = HOLD_STEPS,
        varied: bool = True,
        control_hz: float = CONTROL_HZ,
        camera_every: int = 1,
    ):
        """`image_size` = (height, width) [px]; `render` False gives black images. No camera: the state alone, as `PandaSimulator`.

        `varied`: light, colours, cameras, masses and friction differ from episode to episode. `control_hz` and `camera_every`: shorter steps, as
        `PandaSimulator`; the servos' profiles are as much shorter.

        Raises UserError for an unknown camera role, a rate other than RATES_HZ, or where nothing renders; MissingExtraError without mujoco.
        """
        if control_hz not in RATES_HZ or camera_every < 1:
            raise UserError(
                f"control_hz is {control_hz:g} and camera_every {camera_every}; give {RATES_HZ} Hz, and at least 1."
            )
        self.spec = kitchen_spec(task, cameras, image_size, control_hz)
        slices = round(control_hz / CONTROL_HZ)
        self.task, self.instruction, self.horizon = task.name, task.instruction, task.horizon * slices
        self.definition = task
        self._progress, self._camera_every = Progress(hold_steps * slices, self.horizon), camera_every
        render = render and bool(cameras)
        if render:
            choose_backend()
        mujoco = import_mujoco()
        self._mujoco, self._layout = mujoco, find_layout(task.scene)
        self._things = [THINGS[name] for name in task.things]
        fixture = FIXTURES.get(task.fixture)
        self._model = mujoco.MjModel.from_xml_string(kitchen_xml(self._layout, self._things, fixture))
        self._fixture_range = (0.0, 0.0) if fixture is None else fixture.range
        self._look, self._matter, self._varied = Look(self._model), Matter(self._model, task.things), varied
        _let_sleep(mujoco, self._model)
        self._data = mujoco.MjData(self._model)
        self._arm = load(ROBOT, BRIDGE_ACTION_FRAME)
        self._wire()
        self._cameras = {role: int(self._model.camera(role).id) for role in cameras}
        self._renderer = CameraRenderer(self._model, image_size, list(self._cameras.values())) if render else None
        self._integrator, self._profile = TargetIntegrator(task.limits), JointProfile(self._pieces(control_hz))
        self._longest_rad = self._arm.max_velocity_rad_s / control_hz / PEAK
        self._seed: int | None = None
        self._start: dict[str, Any] = {}
        self.unreached = 0
        self._short_m = 0.0

    def _pieces(self, control_hz: float) -> int:
        """Set points per control period; finer time steps where the usual ones do not fit into it."""
        steps = 1 / control_hz / TIMESTEP_S / SUBSTEPS
        fits = abs(steps - round(steps)) < 1e-9
        self._model.opt.timestep = TIMESTEP_S if fits else TIMESTEP_S / 2
        return round(steps if fits else 2 * steps)

    def _wire(self) -> None:
        model = self._model
        self._arm_qpos = [int(model.joint(name).qposadr[0]) for name in self._arm.joint_names]
        self._motors = [int(model.actuator(name).id) for name in self._arm.joint_names]
        self._gripper_motor = int(model.actuator("gripper").id)
        self._finger_qpos = [int(model.joint(name).qposadr[0]) for name in FINGERS]
        names = [*self.definition.things, *([HANDLE] if self.definition.fixture else [])]
        owned: dict[str, list[str]] = {name: [] for name in names}
        for number in range(model.ngeom):
            owner = str(model.geom(number).name).split(":")[0]
            if owner in owned:
                owned[owner].append(str(model.geom(number).name))
        self._scene = SceneReader(
            model,
            base=Pose(np.zeros(3), np.eye(3)),
            places=self.definition.places,
            joints=self.definition.joints,
            geoms={LEFT_FINGER: [FINGERS[0]], RIGHT_FINGER: [FINGERS[1]], **owned},
        )

    def reset(self, seed: int) -> Observation:
        """Place everything as `seed` says, let it settle, and return the first observation."""
        mujoco, data = self._mujoco, self._data
        rng = np.random.default_rng(seed)
        mujoco.mj_resetData(self._model, data)
        matter = self._matter.draw(np.random.default_rng([seed, 3]), data) if self._varied else {}
        home = self._arm.home_rad
        data.qpos[self._arm_qpos] = home
        data.qpos[self._finger_qpos] = self._arm.finger_range_m[1], -self._arm.finger_range_m[1]
        self._set_fixture(rng)
        drawn = spawn.draw(self.definition, self._layout, rng, self._fits)
        self._put(drawn.starts)
        look = self._look.draw(np.random.default_rng([seed, 2])) if self._varied else {}
        T_base_tool = self._arm.fk(home)
        self._integrator.reset(T_base_tool[:3, 3], T_base_tool[:3, :3])
        self._goal, self._short_m = np.array(home), 0.0
        self._profile.reset(self._goal)
        for _ in range(round(SETTLE_S * self.spec.control_hz)):
            self._advance()
        mujoco.mj_forward(self._model, data)
        data.time = 0.0
        self._seed, self.unreached = seed, 0
        self._progress.begin()
        self._start = {**self._describe(), "rejected_starts": drawn.rejected, "look": look, "matter": matter}
        return self._observe()

    def _set_fixture(self, rng: np.random.Generator) -> None:
        task, (low, high) = self.definition, self._fixture_range
        if task.fixture:
            start = task.start + START_SHARE * (high - low) * rng.uniform(-1.0, 1.0)
            self._data.qpos[int(self._model.joint(JOINT).qposadr[0])] = np.clip(start, low, high)

    def _put(self, starts: Mapping[str, spawn.Start]) -> None:
        for name, start in starts.items():
            address = int(self._model.joint(name).qposadr[0])
            self._data.qpos[address : address + 7] = start.qpos()

    def _fits(self, starts: Mapping[str, spawn.Start]) -> bool:
        """Nothing touches anything but the counter, which it is held 1 mm over."""
        self._put(starts)
        self._mujoco.mj_forward(self._model, self._data)
        bodies = self._model.geom_bodyid[self._data.contact.geom]
        free = {int(self._model.body(name).id) for name in starts}
        return not any(int(body) in free for pair in bodies for body in pair)

    def step(self, action: Float) -> StepResult:
        """Apply one canonical action (7,) for one control period, 0.2 s. Raises UserError on NaN or Inf, or before the first reset."""
        if self._seed is None:
            raise UserError("the simulator has not been reset; call reset(seed) before step(action).")
        sent = self._integrator.apply(action)
        T_base_tool = np.eye(4)
        T_base_tool[:3, :3], T_base_tool[:3, 3] = self._integrator.rotation, self._integrator.position
        reached = self._arm.ik(T_base_tool, self._goal, max_step_rad=self._longest_rad)
        self._short_m = float(reached.position_error_m)
        self.unreached += self._short_m > UNREACHED_M
        self._goal = reached.q
        self._advance()
        self._mujoco.mj_forward(self._model, self._data)
        self._progress.step(self.definition.success(self.state()))
        return self._progress.result(self._observe(), sent)

    def _advance(self) -> None:
        """One control period towards the present goal."""
        model, data = self._model, self._data
        data.ctrl[self._gripper_motor] = finger_goal(self._integrator.gripper, *self._arm.finger_range_m)
        for point in self._profile.towards(self._goal):
            data.ctrl[self._motors] = point
            self._mujoco.mj_step(model, data, nstep=SUBSTEPS)

    def state(self) -> SceneState:
        """The true state of the scene, for experts and success tests."""
        data = self._data
        T_base_tool = self._arm.fk(data.qpos[self._arm_qpos])
        return SceneState(
            tool=Pose(T_base_tool[:3, 3], T_base_tool[:3, :3]),
            target=Pose(self._integrator.position.copy(), self._integrator.rotation.copy()),
            gripper=self._opening(),
            objects=self._scene.objects(data),
            joints=self._scene.joints(data),
            contacts=self._scene.contacts(data),
            unreached_m=self._short_m,
        )

    def truth(self) -> dict[str, Any]:
        """`state` as JSON values; `SceneState.from_json` reads it."""
        return self.state().to_json()

    def initial_conditions(self) -> dict[str, Any]:
        """Scene, seed, and the poses of things (position [m], roll pitch yaw [rad], base frame) at the first observation."""
        return dict(self._start)

    def about(self) -> dict[str, Any]:
        return about(self.release, self.controller_config())

    def controller_config(self) -> dict[str, Any]:
        """JSON values that fix how actions become motion."""
        limits = self.definition.limits
        return {
            "law": "joint position servos along time profiles of 1.25 periods, fingers by force",
            "twin": TWIN_VERSION, "control_hz": self.spec.control_hz,
            "timestep_s": float(self._model.opt.timestep), "substeps": SUBSTEPS, "hold_steps": self._progress.hold_steps,
            "limits": {"low": list(limits.low), "high": list(limits.high)},
            "max_step": [limits.max_step_m, limits.max_step_rad],
        }  # fmt: skip

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()

    def _opening(self) -> float:
        left, right = self._data.qpos[self._finger_qpos]
        closed, wide = self._arm.finger_range_m
        return float(np.clip(((left - right) / 2 - closed) / (wide - closed), 0.0, 1.0))

    def _observe(self) -> Observation:
        q: Array = np.array(self._data.qpos[self._arm_qpos])
        cameras = self._cameras if self._progress.steps % self._camera_every == 0 else {}
        images = frames(self._renderer, self._data, cameras, self.spec.cameras)
        found = observation(self._arm, q, self._opening(), images, self._data.time)
        if self._cameras:
            return found
        things = seen.seen(self.definition, self._scene.objects(self._data))
        return found._replace(proprio=np.concatenate([found.proprio, things]).astype(np.float32))

    def _describe(self) -> dict[str, Any]:
        return {"seed": self._seed, "task": self.task, "scene": self.definition.scene, **described(self.state())}


def _let_sleep(mujoco: Any, model: Any) -> None:
    """Things at rest cost nothing until something touches them; MuJoCo has that from 3.4 on."""
    flag = getattr(mujoco.mjtEnableBit, "mjENBL_SLEEP", None)
    if flag is not None:
        model.opt.enableflags |= int(flag)
        model.opt.sleep_tolerance = SLEEP_M_S


def kitchen_spec(
    task: KitchenTask, cameras: Sequence[str], image_size: tuple[int, int], control_hz: float = CONTROL_HZ
) -> Spec:
    """What episodes look like; without cameras the proprio goes on with `seen.NAMES`. Raises UserError as `panda_spec`."""
    if not cameras:
        names = (*PROPRIO_NAMES, *seen.NAMES)
        return Spec(cameras={}, embodiment=EMBODIMENT, control_hz=control_hz, proprio_names=names)
    require_cameras(cameras, image_size)
    return Spec(cameras=dict.fromkeys(cameras, image_size), embodiment=EMBODIMENT, control_hz=control_hz)
