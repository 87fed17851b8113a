"""ROS 2 names, DDS names and type names, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import UserError
from robot_pt_ros.wire import names

token = st.from_regex(r"[a-z]([a-z0-9]|_(?!_))*", fullmatch=True).filter(lambda t: not t.endswith("_"))
full = st.lists(token, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


def test_names_as_rmw_writes_them() -> None:
    assert names.topic_to_dds("/wx250s/joint_states") == "rt/wx250s/joint_states"
    assert names.request_topic("/ns/srv") == "rq/ns/srvRequest"
    assert names.reply_topic("/ns/srv") == "rr/ns/srvReply"
    assert names.type_to_dds("sensor_msgs/msg/Image") == "sensor_msgs::msg::dds_::Image_"
    assert names.type_to_dds("std_srvs/srv/Trigger_Request") == "std_srvs::srv::dds_::Trigger_Request_"
    assert names.service_type_from_dds("std_srvs::srv::dds_::Trigger_Response_") == "std_srvs/srv/Trigger"


@given(full)
def test_topics_and_services_come_back(name: str) -> None:
    assert names.topic_from_dds(names.topic_to_dds(name)) == name
    assert names.service_from_dds(names.request_topic(name)) == name
    assert names.service_from_dds(names.reply_topic(name)) == name
    assert names.service_from_dds(names.topic_to_dds(name)) is None
    assert names.topic_from_dds(names.request_topic(name)) is None


@pytest.mark.parametrize("dds", ["ros_discovery_info", "DCPSParticipant", "rq/only", "rr/xRequest", "rtx/a"])
def test_other_dds_topics_are_none_of_ros(dds: str) -> None:
    assert names.topic_from_dds(dds) is None
    assert names.service_from_dds(dds) is None


@pytest.mark.parametrize("dds", ["Image", "a::b::dds_::C_", "a::msg::C", "a::msg::dds_::C", ""])
def test_other_dds_types_are_none_of_ros(dds: str) -> None:
    assert names.type_from_dds(dds) is None
    assert names.service_type_from_dds("a::msg::dds_::C_") is None


@pytest.mark.parametrize("bad", ["", "a", "/", "/a/", "/a//b", "/1a", "/a b", "/a__b", "/ä", "~/a", "/a{b}", "/a\n"])
def test_names_that_ros_does_not_allow(bad: str) -> None:
    for make in (names.topic_to_dds, names.request_topic, names.reply_topic):
        with pytest.raises(UserError, match="not a full ROS 2 name"):
            make(bad)
