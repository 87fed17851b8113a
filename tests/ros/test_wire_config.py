"""Environment variables as Cyclone DDS configuration."""

import xml.etree.ElementTree as ET

import pytest

from robot_pt.errors import UserError
from robot_pt_ros.wire.config import cyclone_config, discovery_range, domain_id, static_peers


def domain(environment: dict[str, str]) -> ET.Element:
    found = ET.fromstring(cyclone_config(environment)).find("Domain")
    assert found is not None
    return found


def test_alone_on_this_machine_by_default() -> None:
    found = domain({})
    assert [i.get("address") for i in found.iter("NetworkInterface")] == ["127.0.0.1"]
    assert [p.get("Address") for p in found.iter("Peer")] == ["localhost"]
    assert found.findtext("General/AllowMulticast") == "false"
    assert found.findtext("Discovery/ParticipantIndex") == "auto"
    assert found.findtext("Internal/Watermarks/WhcHigh") == "64MiB"
    assert found.findtext("Discovery/LeaseDuration") == "4s"  # a killed process is forgotten sooner than after 10 s
    assert found.findtext("Discovery/SPDPInterval") == "1s"
    assert {found.findtext(f"General/{name}") for name in ("MaxMessageSize", "FragmentSize")} == {"65500B", "65000B"}


def test_the_subnet_and_named_machines() -> None:
    subnet = domain({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "ROS_STATIC_PEERS": "robot;10.0.0.7; "})
    assert [p.get("Address") for p in subnet.iter("Peer")] == ["robot", "10.0.0.7"]
    assert not list(subnet.iter("NetworkInterface"))
    assert subnet.find("General/AllowMulticast") is None
    local = domain({"ROS_STATIC_PEERS": "robot"})
    assert [p.get("Address") for p in local.iter("Peer")] == ["localhost", "robot"]
    assert not list(local.iter("NetworkInterface"))  # loopback alone would not reach the robot
    assert local.find("Discovery/LeaseDuration") is None  # a network may be silent for longer
    assert local.find("General/MaxMessageSize") is None  # large datagrams are for loopback
    assert local.findtext("General/AllowMulticast") == "false"


def test_off_and_system_default() -> None:
    off = domain({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF", "ROS_STATIC_PEERS": "robot"})
    assert (off.findtext("Discovery/Tag") or "").startswith("discovery_off_")
    assert not list(off.iter("Peer"))
    plain = domain({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT", "ROS_STATIC_PEERS": "robot"})
    assert not list(plain.iter("Discovery"))


def test_localhost_only_goes_first() -> None:
    environment = {"ROS_LOCALHOST_ONLY": "1", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "ROS_STATIC_PEERS": "robot"}
    assert discovery_range(environment) == "LOCALHOST"
    assert static_peers(environment) == []
    assert discovery_range({**environment, "ROS_LOCALHOST_ONLY": "0"}) == "SUBNET"


def test_cyclonedds_uri_has_the_last_word() -> None:
    uri = "<CycloneDDS><Domain><General/></Domain></CycloneDDS>"
    assert cyclone_config({"CYCLONEDDS_URI": uri}) == uri
    both = cyclone_config({"CYCLONEDDS_URI": uri, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"})
    assert both.endswith("," + uri)
    assert "Watermarks" not in both


def test_peers_are_quoted() -> None:
    found = domain({"ROS_STATIC_PEERS": "a'/><Evil x=\"1"})
    assert "a'/><Evil x=\"1" in [p.get("Address") for p in found.iter("Peer")]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "NEAR"}, "'NEAR'; set one of OFF, LOCALHOST, SUBNET, SYSTEM_DEFAULT"),
        ({"ROS_LOCALHOST_ONLY": "yes"}, "ROS_LOCALHOST_ONLY is 'yes'; set 0 or 1"),
    ],
)
def test_words_that_mean_nothing(environment: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        cyclone_config(environment)


def test_domains() -> None:
    assert [
        domain_id({}),
        domain_id({"ROS_DOMAIN_ID": ""}),
        domain_id({"ROS_DOMAIN_ID": " 7 "}),
        domain_id({"ROS_DOMAIN_ID": "232"}),
    ] == [0, 0, 7, 232]
    for bad in ("233", "-1", "1.0", "x", "²"):
        with pytest.raises(UserError, match="set an integer from 0 to 232"):
            domain_id({"ROS_DOMAIN_ID": bad})
