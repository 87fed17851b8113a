"""camera: frames of one device, stream, file or folder as camera/<role>/image_raw, with JPEG when somebody listens, and camera_info."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from robot_pt.images import encode_jpeg
from robot_pt_ros import topics
from robot_pt_ros.camera_calibration import uncalibrated
from robot_pt_ros.camera_grabber import Grabber
from robot_pt_ros.camera_parameters import declare, read
from robot_pt_ros.conversions import compressed_message, image_message, stamp, status_message
from robot_pt_ros.node import Heartbeat, configuring, text, unmake
from robot_pt_ros.processes import run

SILENT_S = 1.0


class CameraNode(LifecycleNode):
    """Open at configure, publish while active; the grabbing is done by a thread of `Grabber`."""

    def __init__(self) -> None:
        super().__init__("camera")
        declare(self)
        self._heartbeat = Heartbeat(self)
        self._grabber: Grabber | None = None
        self._active = False
        self._arrived = self.create_guard_condition(self._publish_frame)

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        settings = read(self)
        self._role, self._quality, self._link = settings.role, settings.jpeg_quality, settings.link
        self._calibration = settings.calibration
        log = self.get_logger()
        self._grabber = Grabber(self._role, settings.opener, self._now, self._arrived.trigger, log.warning)
        self._image = self.create_lifecycle_publisher(Image, topics.camera_image(self._role), topics.newest())
        self._jpeg = self.create_lifecycle_publisher(
            CompressedImage, topics.camera_compressed(self._role), topics.recorded(5)
        )
        self._info = self.create_lifecycle_publisher(CameraInfo, topics.camera_info(self._role), topics.newest())
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.recorded(10))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        log.info(f"camera {self._role}: {text(self, 'source')}, {self._grabber.status()['size']}.")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        assert self._grabber is not None, "configured before it is activated"
        self._active = True
        self._grabber.start()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = False
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        return unmake(self)

    def _now(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _publish_frame(self) -> None:
        taken = self._grabber.take() if self._grabber is not None else None
        if taken is None or not self._active:
            return
        self._image.publish(image_message(taken.stamp_ns, self._link, taken.rgb))
        if self._jpeg.get_subscription_count():
            jpeg = encode_jpeg(taken.rgb, self._quality)
            self._jpeg.publish(compressed_message(taken.stamp_ns, self._link, jpeg))
        info = self._calibration or uncalibrated(*taken.rgb.shape[:2])
        info.header.stamp, info.header.frame_id = stamp(taken.stamp_ns), self._link
        self._info.publish(info)

    def _publish_diagnostics(self) -> None:
        assert self._grabber is not None
        values: dict[str, Any] = self._grabber.status()
        silent = self._active and values["silent_s"] > SILENT_S
        level, said = (DiagnosticStatus.ERROR, "no frames") if silent else (DiagnosticStatus.OK, "running")
        message = DiagnosticArray(status=[status_message(level, f"camera {self._role}", said, values)])
        message.header.stamp = stamp(self._now())
        self._diagnostics.publish(message)

    def _close(self) -> None:
        if self._grabber is not None:
            self._grabber.close()
        self._grabber = None

    def leave(self) -> None:
        """Give the device back."""
        self._active = False
        self._close()

    def has_left(self) -> bool:
        return True


def main() -> int:
    """Entry point of the executable."""
    return run(CameraNode)


if __name__ == "__main__":
    raise SystemExit(main())
