"""Message classes as rclpy programs use them: constructors, checks, defaults, constants, imports."""

import array
import copy
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import UserError
from robot_pt_ros.wire import cdr, typesystem
from robot_pt_ros.wire.messages import install_message_packages, message_class, service_class, type_name

install_message_packages()

Image: Any = message_class("sensor_msgs/msg/Image")
JointState: Any = message_class("sensor_msgs/msg/JointState")
String: Any = message_class("std_msgs/msg/String")


def test_every_known_type_is_made_and_comes_back_from_the_wire() -> None:
    for name in sorted(typesystem.store().fielddefs):
        cls = message_class(name)
        message = cls()
        assert cdr.deserialize(cdr.serialize(message), cls) == message, name
        assert type_name(message) == type_name(cls) == name
        assert set(cls.get_fields_and_field_types()) == {
            f for f, _ in typesystem.fields(name) if f != typesystem.PADDING
        }


def test_packages_that_the_nodes_import() -> None:
    from builtin_interfaces.msg import Duration, Time
    from control_msgs.msg import GripperCommand, JointJog
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
    from geometry_msgs.msg import PoseArray, PoseStamped, TwistStamped
    from lifecycle_msgs.msg import State, Transition
    from lifecycle_msgs.srv import ChangeState, GetState
    from rcl_interfaces.msg import Log, ParameterDescriptor
    from rcl_interfaces.srv import SetParametersAtomically
    from rmw_dds_common.msg import ParticipantEntitiesInfo
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import CameraInfo, CompressedImage, Joy
    from std_msgs.msg import Bool, Float64MultiArray, Header
    from std_srvs.srv import SetBool, Trigger
    from tf2_msgs.msg import TFMessage
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    assert Transition.TRANSITION_CONFIGURE == 1
    assert State.PRIMARY_STATE_ACTIVE == 3
    assert Log.WARN == 30
    assert DiagnosticStatus.STALE == b"\x03"
    assert DiagnosticStatus().level == b"\x00"
    assert Trigger.Request() == Trigger.Request()
    assert Trigger.Response().message == ""
    assert ChangeState.Request().transition == Transition()
    assert GetState.Response().current_state == State()
    assert SetParametersAtomically.Response().result.successful is False
    assert type(Trigger.Request()).__name__ == "Trigger_Request"
    assert Trigger.__module__ == "std_srvs.srv"
    for made in (
        *(
            Duration,
            Time,
            GripperCommand,
            JointJog,
            DiagnosticArray,
            KeyValue,
            PoseArray,
            PoseStamped,
            TwistStamped,
            Clock,
        ),
        *(
            ParameterDescriptor,
            ParticipantEntitiesInfo,
            CameraInfo,
            CompressedImage,
            Joy,
            Bool,
            Float64MultiArray,
            Header,
        ),
        *(SetBool.Request, TFMessage, JointTrajectory, JointTrajectoryPoint),
    ):
        assert made() == made()
        assert repr(made()).startswith(made.__module__)


def test_a_quaternion_is_the_identity_by_default() -> None:
    from geometry_msgs.msg import PoseStamped, Quaternion

    assert (Quaternion().x, Quaternion().w) == (0.0, 1.0)
    assert PoseStamped().pose.orientation == Quaternion(w=1.0)


def test_nested_defaults_are_not_shared() -> None:
    first, second = JointState(), JointState()
    first.header.frame_id, first.name = "base", ["a"]
    first.position.append(1.0)
    assert second == JointState()
    assert first != second


def test_the_text_is_rclpys() -> None:
    message = String(data="x")
    assert repr(message) == "std_msgs.msg.String(data='x')"
    assert repr(JointState(position=[1.0])).endswith(
        "name=[], position=array('d', [1.0]), velocity=array('d'), effort=array('d'))"
    )
    types = JointState.get_fields_and_field_types()
    assert types["header"] == "std_msgs/Header"
    assert types["name"] == "sequence<string>"
    assert types["effort"] == "sequence<double>"
    assert Image.get_fields_and_field_types()["data"] == "sequence<uint8>"
    assert message_class("sensor_msgs/msg/CameraInfo").get_fields_and_field_types()["k"] == "double[9]"
    assert message_class("rcl_interfaces/msg/ParameterDescriptor").get_fields_and_field_types()["integer_range"] == (
        "sequence<rcl_interfaces/IntegerRange, 1>"
    )
    assert (
        message_class("rmw_dds_common/msg/NodeEntitiesInfo").get_fields_and_field_types()["node_name"] == "string<256>"
    )


PIXELS = bytes(range(12))


@pytest.mark.parametrize(
    "given_as",
    [
        *(
            PIXELS,
            bytearray(PIXELS),
            memoryview(PIXELS),
            array.array("B", PIXELS),
            np.frombuffer(PIXELS, np.uint8),
            list(PIXELS),
        ),
        *(tuple(PIXELS), np.repeat(np.frombuffer(PIXELS, np.uint8), 2)[::2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_pixels_are_read_as_rclpy_gives_them(given_as: Any) -> None:
    sent = Image(data=given_as)
    for message in (sent, cdr.deserialize(cdr.serialize(sent), Image)):
        assert isinstance(message.data, array.array)
        assert message.data.typecode == "B"
        assert np.frombuffer(message.data, np.uint8).tobytes() == PIXELS == message.data.tobytes()
        message.data[0] = 9  # the program's own from here on, and what is sent next
        assert cdr.deserialize(cdr.serialize(message), Image).data[0] == 9


def test_what_was_assigned_is_not_changed_later_by_its_giver() -> None:
    pixels = bytearray(PIXELS)
    message = Image(data=pixels)
    pixels[0] = 99
    assert message.data[0] == 0


def test_a_received_image_is_not_copied_until_it_is_read() -> None:
    raw = bytes(cdr.serialize(Image(data=bytes(300_000))))
    message = cdr.deserialize(raw, Image)
    held = message._data
    assert isinstance(held, np.ndarray)
    assert np.shares_memory(held, np.frombuffer(raw, np.uint8))
    assert message.data is message.data


REFUSED: list[tuple[str, str, Any]] = [
    ("std_msgs/msg/String", "data", b"bytes"),
    ("std_msgs/msg/String", "data", None),
    ("std_msgs/msg/Bool", "data", 1),
    ("std_msgs/msg/Bool", "data", np.True_),
    ("std_msgs/msg/Float64", "data", 1),
    ("std_msgs/msg/Float64", "data", "1.0"),
    ("std_msgs/msg/Float32", "data", 1e39),
    ("std_msgs/msg/Int8", "data", 128),
    ("std_msgs/msg/UInt8", "data", -1),
    ("std_msgs/msg/Int32", "data", 2**31),
    ("std_msgs/msg/UInt64", "data", 2**64),
    ("std_msgs/msg/Int64", "data", 1.0),
    ("std_msgs/msg/Byte", "data", 3),
    ("std_msgs/msg/Byte", "data", b"ab"),
    ("std_msgs/msg/Char", "data", 256),
    ("sensor_msgs/msg/Image", "data", "text"),
    ("sensor_msgs/msg/Image", "data", [256]),
    ("sensor_msgs/msg/Image", "data", [1.0]),
    ("sensor_msgs/msg/Image", "data", np.zeros(3, np.int8)),
    ("sensor_msgs/msg/Image", "data", np.zeros((2, 2), np.uint8)),
    ("sensor_msgs/msg/Image", "header", {"frame_id": "x"}),
    ("sensor_msgs/msg/JointState", "position", [1]),
    ("sensor_msgs/msg/JointState", "position", [None]),
    ("sensor_msgs/msg/JointState", "position", np.zeros(2, np.float32)),
    ("sensor_msgs/msg/JointState", "position", array.array("f", [1.0])),
    ("sensor_msgs/msg/JointState", "name", "waist"),
    ("sensor_msgs/msg/JointState", "name", [1]),
    ("sensor_msgs/msg/CameraInfo", "k", [0.0] * 8),
    ("sensor_msgs/msg/CameraInfo", "k", np.zeros((3, 3))),
    ("sensor_msgs/msg/CameraInfo", "k", np.zeros(9, np.float32)),
    ("sensor_msgs/msg/CameraInfo", "k", [None] * 9),
    ("rcl_interfaces/msg/ParameterValue", "bool_array_value", [1]),
    ("rcl_interfaces/msg/ParameterValue", "byte_array_value", [1]),
    ("rmw_dds_common/msg/NodeEntitiesInfo", "node_name", "x" * 257),
    (
        "rcl_interfaces/msg/ParameterDescriptor",
        "integer_range",
        [message_class("rcl_interfaces/msg/IntegerRange")()] * 2,
    ),
    ("diagnostic_msgs/msg/DiagnosticArray", "status", [String()]),
]


@pytest.mark.parametrize(("name", "field", "value"), REFUSED)
def test_values_that_do_not_fit_are_refused_and_change_nothing(name: str, field: str, value: Any) -> None:
    message = message_class(name)()
    with pytest.raises(AssertionError, match=f"{name} field '{field}' takes"):
        setattr(message, field, value)
    with pytest.raises(AssertionError, match="takes"):
        message_class(name)(**{field: value})
    assert message == message_class(name)()


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(AssertionError, match=r"has no field text; it has: data\."):
        String(text="x")
    with pytest.raises(AttributeError):
        String().text = "x"
    assert String(data="x", check_fields=False).data == "x"


@given(st.floats(), st.floats(width=32), st.integers(-(2**63), 2**63 - 1))
def test_numbers_come_back_exactly(double: float, single: float, integer: int) -> None:
    for name, value in (("Float64", double), ("Float32", single), ("Int64", integer)):
        cls: Any = message_class(f"std_msgs/msg/{name}")
        found = cdr.deserialize(cdr.serialize(cls(data=value)), cls).data
        assert found == value or (found != found and value != value)


def test_messages_compare_by_value_and_are_not_hashable() -> None:
    assert String(data="a") == String(data="a") != String(data="b")
    assert String() != "text"
    assert Image() != String()
    with pytest.raises(TypeError, match="unhashable"):
        hash(String())
    image = Image(data=b"abc")
    assert copy.deepcopy(image) == image
    assert copy.deepcopy(image).header is not image.header


def test_bytes_and_bools_in_lists() -> None:
    cls: Any = message_class("rcl_interfaces/msg/ParameterValue")
    message = cls(byte_array_value=[b"\x00", b"\xff"], bool_array_value=[True, False], string_array_value=["a", "ä"])
    found = cdr.deserialize(cdr.serialize(message), cls)
    assert found == message
    assert list(found.byte_array_value) == [b"\x00", b"\xff"]
    assert list(found.bool_array_value) == [True, False]
    assert cls(byte_array_value=b"\x00\xff") == cls(byte_array_value=[b"\x00", b"\xff"])


def test_names_that_are_not_known() -> None:
    with pytest.raises(UserError, match="'nope/msg/Nope' is not known here"):
        message_class("nope/msg/Nope")
    with pytest.raises(UserError, match="not of the form"):
        message_class("Image")
    with pytest.raises(UserError, match=r"known are: .*std_srvs/srv/Trigger"):
        service_class("std_srvs/srv/Nope")
    with pytest.raises(UserError, match="is no ROS 2 message or service class"):
        type_name(int)
    import sensor_msgs.msg

    with pytest.raises(AttributeError, match=r"sensor_msgs.msg has no Nope; it has: BatteryState"):
        _ = sensor_msgs.msg.Nope
    assert "Image" in dir(sensor_msgs.msg)
    assert not hasattr(sensor_msgs.msg, "__wrapped__")
    with pytest.raises(ModuleNotFoundError):
        __import__("sensor_msgs.nope")
    with pytest.raises(ModuleNotFoundError):
        __import__("nope_msgs")


def run(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        env={**dict(__import__("os").environ), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_real_package_is_found_first(tmp_path: Any) -> None:
    (tmp_path / "std_msgs" / "msg").mkdir(parents=True)
    (tmp_path / "std_msgs" / "__init__.py").write_text("")
    (tmp_path / "std_msgs" / "msg" / "__init__.py").write_text("class String: real = True\n")
    found = run(
        """
        from robot_pt_ros.wire.messages import install_message_packages
        install_message_packages(); install_message_packages()
        from std_msgs.msg import String
        import sys
        print(String.real, sum(type(f).__name__ == "_Finder" for f in sys.meta_path))
        try:
            import std_msgs.srv
        except ModuleNotFoundError:
            print("none")
        """,
        PYTHONPATH=str(tmp_path),
    )
    assert found.splitlines() == ["True 1", "none"]


def test_humble_has_its_own_layout() -> None:
    script = """
        from robot_pt_ros.wire.messages import distro, message_class
        from robot_pt_ros.wire import typesystem
        print(distro(), len(message_class("rmw_dds_common/msg/Gid")().data), "rcl_interfaces/srv/GetLoggerLevels" in typesystem.services())
        """
    assert run(script, ROS_DISTRO="humble") == "humble 24 False"
    assert run(script, ROS_DISTRO="jazzy") == run(script, ROS_DISTRO="rolling") == "jazzy 16 True"


def test_interbotix_fields_are_those_of_its_repository() -> None:
    """In the order of Interbotix/interbotix_ros_core, interbotix_ros_xseries/interbotix_xs_msgs: on the wire a field is its place."""
    ask = "cmd_type:string name:string"
    known = {
        "msg/JointGroupCommand": "name:string cmd:sequence<float>",
        "msg/JointSingleCommand": "name:string cmd:float",
        "msg/JointTrajectoryCommand": f"{ask} traj:trajectory_msgs/JointTrajectory",
        "srv/TorqueEnable_Request": f"{ask} enable:boolean",
        "srv/Reboot_Request": f"{ask} enable:boolean smart_reboot:boolean",
        "srv/OperatingModes_Request": f"{ask} mode:string profile_type:string profile_velocity:int32 profile_acceleration:int32",
        "srv/RegisterValues_Request": f"{ask} reg:string value:int32",
        "srv/RegisterValues_Response": "values:sequence<int32>",
        "srv/RobotInfo_Request": ask,
        "srv/RobotInfo_Response": (
            "mode:string profile_type:string joint_names:sequence<string> joint_ids:sequence<int16> "
            "joint_lower_limits:sequence<float> joint_upper_limits:sequence<float> joint_velocity_limits:sequence<float> "
            "joint_sleep_positions:sequence<float> joint_state_indices:sequence<int16> num_joints:int16 name:sequence<string>"
        ),
    }
    for name, fields in known.items():
        found = message_class(f"interbotix_xs_msgs/{name}").get_fields_and_field_types()
        assert " ".join(f"{field}:{kind}" for field, kind in found.items()) == fields, name
