"""teleop: what the operator's device says -> targets, a deadman heartbeat by operator input alone, the e-stop, and requests as services.

Topic teleop/request (std_msgs/String) takes the words of `robot_pt.teleop.MEANINGS` too. With device "topic" another process publishes the
targets and the deadman; this node then serves its requests alone.
"""

from __future__ import annotations

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from robot_pt_ros.arm_model import arm_of
from robot_pt_ros.node import Heartbeat, configuring, flag, number, text, unmake
from robot_pt_ros.processes import run
from robot_pt_ros.teleop_devices import attach
from robot_pt_ros.teleop_hand import HandInTheGraph
from robot_pt_ros.teleop_parameters import declare, teleop_settings
from robot_pt_ros.teleop_requests import TeleopRequests
from robot_pt_ros.teleop_window import Window


class TeleopNode(LifecycleNode):
    """Fifty times a second the heartbeat, twenty times requests and a target."""

    def __init__(self) -> None:
        super().__init__("teleop")
        declare(self)
        self._heartbeat = Heartbeat(self)
        self._hand: HandInTheGraph | None = None
        self._window: Window | None = None
        self.finished = False

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        kind, settings = text(self, "device"), teleop_settings(self)
        arm_of(self)  # an unknown one is refused with device "topic" too
        self._requests = TeleopRequests(self)
        self._window = Window(self, int(number(self, "window_port"))) if flag(self, "window") else None
        attached = attach(self, kind, settings, held=flag(self, "policy_on_arm"))
        if attached is None:
            return TransitionCallbackReturn.SUCCESS
        self._hand = HandInTheGraph(self, attached, settings)
        log, device = self.get_logger(), attached.device
        if kind != "keyboard":
            log.info(f"{kind}:\n{device.legend()}")
        if not device.hold_to_run:
            log.warning(
                f"{kind} is no hold-to-run switch: on a real arm it moves the arm, and lets no policy run there."
            )
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._ticking = [
            self.create_timer(1 / number(self, "heartbeat_hz"), self._beat, clock=steady),
            self.create_timer(1 / number(self, "rate_hz"), self._tick, clock=steady),
        ]
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        for timer in self._ticking:
            self.destroy_timer(timer)
        self._release()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        return unmake(self)

    def _beat(self) -> None:
        if self._hand is not None:
            self._hand.beat()
            self.finished = self._hand.gone_for_good

    def _tick(self) -> None:
        hand = self._hand
        if hand is None:
            return
        hand.beat()
        for name in hand.requests():
            self._requests.ask(name)
        hand.ask()

    # the end

    def _release(self) -> None:
        if self._hand is not None:
            self._hand.release()

    def _close(self) -> None:
        if self._hand is not None:
            self._hand.close()
        if self._window is not None:
            self._window.close()
        self._hand, self._window = None, None

    def leave(self) -> None:
        """Release the arm, give the terminal back."""
        self._release()
        self._close()

    def has_left(self) -> bool:
        return True


def main() -> int:
    """Entry point of the executable."""
    return run(TeleopNode)


if __name__ == "__main__":
    raise SystemExit(main())
