"""ArmAdapter: from the supervisor's commands to one arm's driver. A pure state machine, the clocks passed in.

It follows what the guard lets through, holds when nothing comes, and moves by itself only on request, slowly and watched, while
the supervisor says that it is disarmed: home, sleep, torque.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

import numpy as np

from robot_pt.arm_guard import ArmGuard
from robot_pt.commands import Answer, Float64, JointCommand
from robot_pt.errors import UserError
from robot_pt.gate.watchdogs import RestMonitor
from robot_pt.joint_motion import ARRIVED_RAD, JointMotion, path_trouble
from robot_pt.robots import Arm

NS = 1_000_000_000
MODE_TIMEOUT_S = 1.5
"""The supervisor says its mode twice a second; older is not known."""
REST_RAD_S = 0.05
DISARMED = "disarmed"


class Driver(Protocol):
    """One way of moving an arm. None of its methods waits; a driver that needs preparation goes on with it in `poll`."""

    def poll(self, now_ns: int) -> None:
        """Called every tick: what has to be asked of or told to the hardware besides commands."""
        ...

    def trouble(self) -> str:
        """Why it cannot be used now, a sentence for the operator; "" where it can."""
        ...

    def fault(self) -> str:
        """What is broken, for the supervisor; "" where nothing is."""
        ...

    def send(self, command: JointCommand) -> None:
        """Go there; joints are in arm order."""
        ...

    def hold(self) -> None:
        """Called every tick without a command: whatever keeps the arm where it is."""
        ...

    def farewell(self) -> None:
        """The last word before the process ends."""
        ...

    def torque(self, on: bool) -> Answer:
        """Switch the motors; conditions were checked."""
        ...

    def values(self) -> dict[str, Any]:
        """For diagnostics."""
        ...


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """Raises UserError for a number that cannot be meant."""

    reset_speed_rad_s: float = 0.4
    """Fastest joint on the way to home or sleep [rad/s]."""
    max_tracking_error_rad: float = 0.35
    """An arm farther from where it was sent stops on the way [rad]."""
    floor_m: float = 0.0
    """Nothing dips below this height on the way [m], base frame."""

    def __post_init__(self) -> None:
        if not (0 < self.reset_speed_rad_s <= 1 and 0 < self.max_tracking_error_rad <= 1 and -2 < self.floor_m < 2):
            raise UserError(
                f"reset_speed_rad_s is {self.reset_speed_rad_s}, max_tracking_error_rad {self.max_tracking_error_rad}, floor_m "
                f"{self.floor_m}; give above 0 and at most 1, the same, and a height within 2 m."
            )


@final
class ArmAdapter:
    """Not thread-safe. `now_ns` is steady everywhere, `clock_ns` makes stamps."""

    def __init__(self, arm: Arm, driver: Driver, guard: ArmGuard, settings: AdapterSettings | None = None):
        self._arm, self._driver, self.guard = arm, driver, guard
        self._settings = settings or AdapterSettings()
        self._q: Float64 | None = None
        self._opening, self._state_ns = 1.0, 0
        self._rest = RestMonitor()
        self._mode, self._mode_ns = "", 0
        self._motion: JointMotion | None = None
        self._active = False
        self._left = False
        self.sent = 0

    # what is heard

    def state(self, now_ns: int, q: Float64, opening: float) -> None:
        """Measured joints (J,) [rad] and opening, finite."""
        self._q, self._opening, self._state_ns = q, opening, now_ns
        self._rest.add(now_ns, q)
        self.guard.state(now_ns, q)

    def mode(self, now_ns: int, mode: str) -> None:
        """The supervisor's mode, as on safety/state."""
        self._mode, self._mode_ns = mode, now_ns

    def command(self, now_ns: int, clock_ns: int, command: JointCommand) -> None:
        """One command of the supervisor."""
        trouble = self._driver.fault() or self._driver.trouble()
        if not self._active or trouble:
            self.guard.stop(trouble or "the arm node is not active.")
        else:
            self.guard.resume()
        if self.guard.offer(now_ns, clock_ns, command) is None and self._moves_itself:
            self._motion_or_fail().stop("the supervisor commands the arm")

    # what is asked for

    def activate(self) -> None:
        """Follow from now on."""
        self._active = True

    def deactivate(self, why: str) -> None:
        """Hold, and follow nothing more."""
        self._active = False
        self.guard.stop(why)
        if self._motion is not None:
            self._motion.stop(why)

    def leave(self) -> None:
        """Hold, follow nothing more, and say the driver's last word, once."""
        if not self._left:
            self._left = True
            self.deactivate("the arm node is leaving.")
            self._driver.farewell()

    def move_to(self, now_ns: int, place: Literal["home", "sleep"]) -> Answer:
        """Start a slow motion to the arm's home or sleep pose, or say why not."""
        refusal = self._refusal(now_ns)
        if refusal:
            return Answer(False, refusal)
        assert self._q is not None
        goal = self._arm.home_rad if place == "home" else self._arm.sleep_rad
        start = np.clip(self._q, self._arm.lower_rad, self._arm.upper_rad)
        trouble = path_trouble(self._arm, start, goal, self._opening, self._settings.floor_m)
        if trouble:
            return Answer(False, trouble)
        s = self._settings
        self._motion = JointMotion(
            place, start, goal, speed_rad_s=s.reset_speed_rad_s, max_error_rad=s.max_tracking_error_rad, now_ns=now_ns
        )
        return Answer(True, f"on the way to {place}, about {self._motion.duration_s:.1f} s; arming stops it.")

    def torque(self, now_ns: int, on: bool) -> Answer:
        """Switch the motors; off only at rest in the sleep pose, where the arm does not fall."""
        refusal = self._not_disarmed(now_ns) or self._not_still(now_ns)
        if refusal:
            return Answer(False, refusal)
        assert self._q is not None
        off_rad = float(np.abs(self._q - self._arm.sleep_rad).max())
        if not on and off_rad > ARRIVED_RAD:
            return Answer(
                False,
                f"the arm would fall: a joint is {off_rad:.2f} rad from the sleep pose; call arm/sleep first.",
            )
        return self._driver.torque(on)

    # what is done

    def tick(self, now_ns: int) -> None:
        """Send one command, or hold."""
        self._driver.poll(now_ns)
        command = self._moving(now_ns) if self._moves_itself else self._followed(now_ns)
        if command is None:
            self._driver.hold()
            return
        self.sent += 1
        self._driver.send(command)

    def fault(self) -> str:
        """What the supervisor should know; "" where nothing is broken."""
        return self._driver.fault()

    def status(self, now_ns: int) -> tuple[bool, str, dict[str, Any]]:
        """(all is well, one sentence, values) for diagnostics."""
        fault, trouble = self._driver.fault(), self._driver.trouble()
        motion = self._motion
        holds = self.guard.holds(now_ns)
        values: dict[str, Any] = {
            "following": not holds,
            "sent": self.sent,
            "motion": "" if motion is None else f"{motion.name} {motion.phase} {motion.reason}".strip(),
            **{f"refused/{name}": n for name, n in sorted(self.guard.counts.items())},
            **self._driver.values(),
        }
        well = not (fault or trouble or self.guard.rival or holds == "joint_state" or self._stalled)
        if self._stalled and motion is not None:
            return False, f"{motion.name}: {motion.reason}.", values
        if self._moves_itself and motion is not None:
            return well, f"on the way to {motion.name}.", values
        return well, fault or trouble or self.guard.sentence(now_ns), values

    def _followed(self, now_ns: int) -> JointCommand | None:
        if self._driver.fault() or self._driver.trouble():
            return None
        return self.guard.take(now_ns)

    def _moving(self, now_ns: int) -> JointCommand | None:
        motion = self._motion_or_fail()
        why = self._driver.fault() or self._driver.trouble() or self._not_disarmed(now_ns) or self._not_heard(now_ns)
        if why or self._q is None:
            motion.stop(why)
            return None
        q = motion.step(now_ns, self._q)
        return None if q is None else JointCommand(now_ns, q, self._opening, self._arm.fk(q))

    @property
    def _moves_itself(self) -> bool:
        return self._motion is not None and self._motion.phase == "moving"

    @property
    def _stalled(self) -> bool:
        return self._motion is not None and self._motion.phase == "stopped"

    def _motion_or_fail(self) -> JointMotion:
        assert self._motion is not None, "asked only while it moves itself"
        return self._motion

    def _refusal(self, now_ns: int) -> str:
        if not self._active:
            return "the arm node is not active; activate it first."
        trouble = self._driver.fault() or self._driver.trouble()
        return trouble or self._not_disarmed(now_ns) or self._not_still(now_ns)

    def _not_disarmed(self, now_ns: int) -> str:
        if self.guard.rival:
            return self.guard.sentence(now_ns)
        if not self._mode or not 0 <= now_ns - self._mode_ns <= MODE_TIMEOUT_S * NS:
            return "the supervisor is not heard; start it, for it says whether the arm is disarmed."
        if self._mode != DISARMED or not self.guard.holds(now_ns):
            return f"the supervisor is in {self._mode}; disarm it first (safety/disarm)."
        return ""

    def _not_heard(self, now_ns: int) -> str:
        fresh = self._q is not None and 0 <= now_ns - self._state_ns <= self.guard.settings.state_timeout_s * NS
        return "" if fresh else "no fresh joint states; look at the driver."

    def _not_still(self, now_ns: int) -> str:
        speed = self._rest.speed_rad_s()
        if self._not_heard(now_ns):
            return self._not_heard(now_ns)
        if self._moves_itself or speed is None or speed > REST_RAD_S:
            return "the arm is moving; wait until it is at rest."
        return ""
