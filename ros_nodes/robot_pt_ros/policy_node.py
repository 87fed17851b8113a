"""policy: camera frames and joints in, `robot_pt.session.Session`, absolute pose targets out.

It asks for motion; the supervisor decides. Services policy/*: see `robot_pt_ros.policy_requests`.
"""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from robot_pt.session import Session
from robot_pt_ros.arm_model import arm_of
from robot_pt_ros.node import Heartbeat, configuring, flag, number, text, unmake
from robot_pt_ros.policy_driving import Driving
from robot_pt_ros.policy_parameters import (
    declare,
    load_policy,
    require_detail,
    robot_spec,
    session_settings,
    step_limits,
)
from robot_pt_ros.policy_prompt import Prompt
from robot_pt_ros.policy_requests import PolicyRequests
from robot_pt_ros.processes import run


class PolicyNode(LifecycleNode):
    """Parameters and a life; `Driving` ticks the session, `PolicyRequests` start, stop and replace it."""

    def __init__(self) -> None:
        super().__init__("policy")
        declare(self)
        self._heartbeat = Heartbeat(self)
        self._driving: Driving | None = None

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._arm, self._prompt = arm_of(self), Prompt(self)
        session = self._load()
        _, cameras = robot_spec(self, session.policy.spec)
        self._driving = Driving(self, session, self._arm, cameras, lockstep=flag(self, "lockstep"))
        self._requests = PolicyRequests(self, lambda: self.driving, self._warmed_up, self._prompt)
        timing = session.warm_up(int(number(self, "warmup_iters")))
        self.get_logger().info(
            f"policy {session.policy.version[:12]}: first inference {timing.first_ms:.0f} ms, then p50 {timing.p50_ms:.1f} ms, "
            f"p99 {timing.p99_ms:.1f} ms of {1e-6 * session.period_ns:.0f} ms."
        )
        self._driving.announce()
        return TransitionCallbackReturn.SUCCESS

    def _load(self, folder: str = "") -> Session:
        """The session of the policy in `folder`, else of `checkpoint`. Raises UserError in one sentence."""
        policy = load_policy(self, folder)
        self._prompt.require(policy)
        require_detail(self, policy)
        spec, _ = robot_spec(self, policy.spec)
        session = Session(
            policy, spec, self._arm, task=text(self, "task") or None, instruction=text(self, "prompt") or None,
            settings=session_settings(self), limits=step_limits(self, self._arm),
        )  # fmt: skip
        for note in session.notes:
            self.get_logger().warning(note)
        return session

    def _warmed_up(self, folder: str) -> Session:
        session = self._load(folder)
        session.warm_up(int(number(self, "warmup_iters")))
        return session

    @property
    def driving(self) -> Driving:
        assert self._driving is not None, "configured before it is used"
        return self._driving

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        self.driving.activate()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.driving.deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return unmake(self)

    def leave(self) -> None:
        """The policy stops first; the supervisor holds."""
        if self._driving is not None:
            self._driving.leave("the node is leaving")

    def has_left(self) -> bool:
        return True


def main() -> int:
    """Entry point of the executable."""
    return run(PolicyNode)


if __name__ == "__main__":
    raise SystemExit(main())
