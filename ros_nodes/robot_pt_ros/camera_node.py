"""camera: frames of one device, stream, file or folder as camera/<role>/image_raw, with JPEG when somebody listens, and camera_info."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from robot_pt.errors import UserError
from robot_pt.images import encode_jpeg
from robot_pt_ros import topics
from robot_pt_ros.camera_calibration import read_calibration, uncalibrated
from robot_pt_ros.camera_grabber import Grabber
from robot_pt_ros.camera_sources import Wanted, open_source
from robot_pt_ros.conversions import compressed_message, image_message, stamp, status_message
from robot_pt_ros.node import Heartbeat, configuring, flag, number, numbers, text, unmake
from robot_pt_ros.processes import run

SILENT_S = 1.0


class CameraNode(LifecycleNode):
    """Open at configure, publish while active; the grabbing is done by a thread of `Grabber`."""

    def __init__(self) -> None:
        super().__init__("camera")
        self._declare()
        self._heartbeat = Heartbeat(self)
        self._grabber: Grabber | None = None
        self._active = False
        self._arrived = self.create_guard_condition(self._publish_frame)

    def _declare(self) -> None:
        fixed = lambda words, **more: ParameterDescriptor(description=words, read_only=True, **more)  # noqa: E731
        quality = [IntegerRange(from_value=1, to_value=100, step=1)]
        rate = [FloatingPointRange(from_value=0.0, to_value=1000.0, step=0.0)]
        self.declare_parameter("camera", "primary", fixed("Role, as in the topics and the policy's cameras."))
        self.declare_parameter("source", "", fixed("Device (/dev/video0 or 0), stream address, video file or folder."))
        self.declare_parameter("image_size", [0, 0], fixed("Height and width asked of a device [px]; 0 leaves it."))
        self.declare_parameter(
            "rate_hz", 0.0, fixed("Of a device or file [Hz]; 0 leaves it.", floating_point_range=rate)
        )
        self.declare_parameter("fourcc", "", fixed("Format asked of a device, e.g. MJPG; empty leaves it."))
        self.declare_parameter("loop", True, fixed("Play a file or folder again and again."))
        self.declare_parameter("frame_id", "base_link", fixed("Of the arm; frames are named by optical_frame_id."))
        self.declare_parameter(
            "optical_frame_id", "", fixed("Frame of the images; empty: camera_<role>_optical_frame.")
        )
        self.declare_parameter("jpeg_quality", 95, fixed("1 to 100.", integer_range=quality))
        self.declare_parameter("camera_info_url", "", fixed("Calibration file; empty: not calibrated."))

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        self._role, fourcc = text(self, "camera"), text(self, "fourcc")
        if not self._role or "/" in self._role:
            raise UserError(f"camera is {self._role!r}; give a role such as primary or wrist.")
        if len(fourcc) not in (0, 4):
            raise UserError(f"fourcc is {fourcc!r}; give four letters such as MJPG, or leave it empty.")
        self._quality = int(number(self, "jpeg_quality"))
        height, width = (int(v) for v in numbers(self, "image_size"))
        self._link = text(self, "optical_frame_id") or f"camera_{self._role}_optical_frame"
        url = text(self, "camera_info_url")
        self._calibration = read_calibration(url) if url else None
        wanted = Wanted(height, width, number(self, "rate_hz"), fourcc, flag(self, "loop"))
        opener = open_source(text(self, "source"), wanted)
        log = self.get_logger()
        self._grabber = Grabber(self._role, opener, self._now, self._arrived.trigger, log.warning)
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
