"""The graph inside one process: announcements, queries, refusals, Humble's layout. ROS domain 25."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from robot_pt.errors import UserError
from robot_pt_ros.wire.dds import Participant
from robot_pt_ros.wire.discovery import UNKNOWN, keys
from robot_pt_ros.wire.messages import message_class
from robot_pt_ros.wire.qos import SENSOR_DATA, QoS

String: Any = message_class("std_msgs/msg/String")
Image: Any = message_class("sensor_msgs/msg/Image")


@pytest.fixture
def pair() -> Iterator[tuple[Participant, Participant]]:
    made = Participant(25), Participant(25)
    yield made
    for participant in made:
        participant.close()


def wait_for(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)
    return found


def test_nodes_of_every_participant_ours_too(pair: tuple[Participant, Participant]) -> None:
    here, there = pair
    node = here.graph.add_node("arm", "/left")
    there.graph.add_node("arm", "/right")
    there.graph.add_node("camera", "/")
    expected = [("arm", "/left", "/"), ("arm", "/right", "/"), ("camera", "/", "/")]
    wait_for(lambda: sorted(here.graph.nodes()) == expected)
    wait_for(lambda: sorted(there.graph.nodes()) == expected)
    here.graph.add_node("arm", "/left")
    wait_for(lambda: there.graph.nodes().count(("arm", "/left", "/")) == 2)
    here.graph.remove_node(node)
    here.graph.remove_node(node)
    wait_for(lambda: there.graph.nodes().count(("arm", "/left", "/")) == 1)
    here.close()
    wait_for(lambda: sorted(there.graph.nodes()) == expected[1:])


def test_whose_endpoint_it_is(pair: tuple[Participant, Participant]) -> None:
    here, there = pair
    node = here.graph.add_node("driver", "/")
    latched = QoS(durability="transient_local", depth=1, deadline_ns=10**9)
    writer, stray = here.writer("/image", Image, latched), here.writer("/image", Image, SENSOR_DATA)
    reader = there.reader("/image", String)
    here.graph.attach(node, writer)
    infos = wait_for(
        lambda: (found := there.graph.publishers("/image")) and [f for f in found if f.node_name == "driver"] and found
    )
    by_gid = {info.gid: info for info in infos}
    assert set(by_gid) == {writer.gid, stray.gid}
    known = by_gid[writer.gid]
    assert (known.node_name, known.node_namespace, known.participant_gid) == ("driver", "/", here.gid)
    assert (known.qos.durability, known.qos.deadline_ns, known.qos.reliability) == (
        "transient_local",
        10**9,
        "reliable",
    )
    assert (by_gid[stray.gid].node_name, by_gid[stray.gid].qos.reliability) == (UNKNOWN, "best_effort")
    (asking,) = wait_for(lambda: here.graph.subscriptions("/image"))
    assert (asking.gid, asking.topic_type) == (reader.gid, "std_msgs/msg/String")
    assert here.graph.topics()["/image"] == ["sensor_msgs/msg/Image", "std_msgs/msg/String"]
    writer.close()
    wait_for(lambda: there.graph.publishers_of("driver", "/") == {})
    wait_for(lambda: {info.gid for info in there.graph.publishers("/image")} == {stray.gid})


def test_the_revision_grows_with_every_change_and_only_then(pair: tuple[Participant, Participant]) -> None:
    here, there = pair
    wait_for(lambda: not here.graph.poll())
    time.sleep(0.3)
    here.graph.poll()
    before = here.graph.revision
    here.graph.nodes()
    assert (here.graph.revision, here.graph.poll()) == (before, False)
    there.graph.add_node("new", "/")
    wait_for(lambda: here.graph.poll())
    assert here.graph.revision > before


def test_refusals(pair: tuple[Participant, Participant]) -> None:
    graph = pair[0].graph
    for name in ("", "a b", "1a", "a/b", "x" * 256):
        with pytest.raises(UserError, match="is not allowed; use letters, digits and underscores"):
            graph.add_node(name, "/")
    for namespace in ("", "a", "/a/", "//", "/" + "x" * 245):
        with pytest.raises(UserError, match="is not allowed; use '/' or names joined"):
            graph.add_node("a", namespace)
    graph.add_node("known", "/ns")
    for query in (graph.publishers_of, graph.subscribers_of, graph.servers_of, graph.clients_of):
        with pytest.raises(UserError, match="no node 'unknown' in namespace '/' is on the graph; there are: /ns/known"):
            query("unknown", "/")
    with pytest.raises(UserError, match="not a full ROS 2 name"):
        graph.publishers("x")


def test_user_data_of_any_form() -> None:
    assert keys(b"enclave=/;") == {"enclave": "/"}
    assert keys(b"a=b=c;serviceid=1.2;;x;typehash=RIHS01_0;") == {
        "a": "b=c",
        "serviceid": "1.2",
        "typehash": "RIHS01_0",
    }
    assert keys(b"") == keys(b"\xff\xfe") == {}


HUMBLE = """
import json, sys, time
from robot_pt_ros.wire.dds import Participant
from robot_pt_ros.wire.messages import message_class

here, there = Participant(25), Participant(25)
node = here.graph.add_node("arm", "/")
writer = here.writer("/x", message_class("std_msgs/msg/String"))
here.graph.attach(node, writer)
end = time.monotonic() + 10
while not there.graph.nodes() or not there.graph.publishers_of("arm", "/"):
    assert time.monotonic() < end
(info,) = there.graph.publishers("/x")
announcement = message_class("rmw_dds_common/msg/Gid")()
print(json.dumps([there.graph.nodes(), info.node_name, info.gid == writer.gid, info.topic_type_hash, len(announcement.data)]))
"""


def test_humble_announces_24_bytes_and_no_hash() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HUMBLE],
        env={**os.environ, "ROS_DISTRO": "humble"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[["arm", "/", "/"]], "arm", True, "", 24]
