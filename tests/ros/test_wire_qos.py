"""QoS: what DDS gets is what rmw_cyclonedds sets; what is refused; compatibility against Cyclone's own verdict (test_wire_dds)."""

from typing import Any

import pytest
from cyclonedds.core import Policy
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.errors import UserError
from robot_pt_ros.wire.qos import (
    DEFAULT,
    DISCOVERY,
    INFINITE_NS,
    PARAMETER_EVENTS,
    PARAMETERS,
    ROSOUT,
    SENSOR_DATA,
    SERVICES,
    QoS,
    from_dds,
    incompatible,
    to_dds,
)

durations = st.none() | st.integers(1, 10**12)
profiles = st.builds(
    QoS,
    reliability=st.sampled_from(["reliable", "best_effort"]),
    durability=st.sampled_from(["volatile", "transient_local"]),
    history=st.sampled_from(["keep_last", "keep_all"]),
    depth=st.integers(1, 1000),
    deadline_ns=durations,
    lifespan_ns=durations,
    liveliness=st.sampled_from(["automatic", "manual_by_topic"]),
    lease_ns=durations,
    max_blocking_ns=st.just(10**7),
)


@settings(max_examples=60, deadline=None)
@given(profiles, st.binary(max_size=20))
def test_profiles_come_back_from_dds(qos: QoS, user_data: bytes) -> None:
    found, data = from_dds(to_dds(qos, user_data, writer=True))
    assert data == user_data
    assert found._replace(depth=qos.depth, max_blocking_ns=qos.max_blocking_ns) == qos
    assert found.depth == (qos.depth if qos.history == "keep_last" else 0)


def policies(qos: QoS, **how: Any) -> dict[str, Any]:
    return {policy.__scope__: policy for policy in to_dds(qos, **how).policies}


def test_a_latched_writer_as_rmw_makes_it() -> None:
    found = policies(QoS(durability="transient_local", depth=3), writer=True)
    assert found["WriterDataLifecycle"] == Policy.WriterDataLifecycle(autodispose=False)
    assert found["DurabilityService"].history == Policy.History.KeepLast(3)
    assert found["DataRepresentation"].use_cdrv0_representation
    assert not found["DataRepresentation"].use_xcdrv2_representation
    assert found["Liveliness"] == Policy.Liveliness.Automatic(INFINITE_NS)
    assert found["Deadline"].deadline == found["Lifespan"].lifespan == INFINITE_NS
    assert found["Reliability"].max_blocking_time < 10**9  # finite, unlike rmw_cyclonedds'


def test_readers_have_no_writer_policies() -> None:
    found = policies(ROSOUT, writer=False, ignore_local=True)
    assert not {"WriterDataLifecycle", "DurabilityService", "Lifespan"} & set(found)
    assert found["IgnoreLocal"] == Policy.IgnoreLocal.Participant


def test_profiles_of_ros() -> None:
    assert (SENSOR_DATA.reliability, SENSOR_DATA.depth) == ("best_effort", 5)
    assert SERVICES == DEFAULT == QoS(depth=10)
    assert PARAMETERS == PARAMETER_EVENTS == QoS(depth=1000)
    assert (ROSOUT.durability, ROSOUT.lifespan_ns) == ("transient_local", 10**10)
    assert QoS(durability="transient_local", depth=1) == DISCOVERY


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (QoS(reliability="best"), "reliability is 'best'; allowed are reliable and best_effort"),  # type: ignore[arg-type]
        (QoS(durability="persistent"), "durability is 'persistent'"),  # type: ignore[arg-type]
        (QoS(history="all"), "history is 'all'"),  # type: ignore[arg-type]
        (QoS(liveliness="none"), "liveliness is 'none'"),  # type: ignore[arg-type]
        (QoS(depth=0), "depth is 0"),
        (QoS(depth=2**31), "depth is 2147483648"),
        (QoS(deadline_ns=0), "deadline_ns is 0; give a positive number of nanoseconds, or None for infinite"),
        (QoS(lease_ns=-1), "lease_ns is -1"),
        (QoS(lifespan_ns=-1), "lifespan_ns is -1"),
        (QoS(max_blocking_ns=0), "max_blocking_ns is 0"),
        (QoS(max_blocking_ns=None), r"max_blocking_ns is None; give a positive number of nanoseconds\."),  # type: ignore[arg-type]
    ],
)
def test_refusals(bad: QoS, said: str) -> None:
    with pytest.raises(UserError, match=said):
        to_dds(bad, writer=True)


def test_a_depth_means_nothing_to_keep_all() -> None:
    assert to_dds(QoS(history="keep_all", depth=0), writer=True)


@settings(max_examples=60, deadline=None)
@given(profiles, profiles)
def test_offering_more_never_parts(offered: QoS, requested: QoS) -> None:
    best = offered._replace(
        reliability="reliable", durability="transient_local", deadline_ns=1, liveliness="manual_by_topic", lease_ns=1
    )
    assert incompatible(best, requested) is None
    least = requested._replace(
        reliability="best_effort", durability="volatile", deadline_ns=None, liveliness="automatic", lease_ns=None
    )
    assert incompatible(offered, least) is None
    assert incompatible(requested, requested) is None
