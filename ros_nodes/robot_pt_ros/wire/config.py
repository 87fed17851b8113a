"""The network a process joins: ROS 2's environment variables as Cyclone DDS configuration.

Without any variable set a process stays on this machine: loopback interface, unicast to localhost, no multicast. (Jazzy's own default
is the subnet: set ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET for that.) CYCLONEDDS_URI, where set, has the last word, as in rmw_cyclonedds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from robot_pt.errors import UserError

RANGES = ("OFF", "LOCALHOST", "SUBNET", "SYSTEM_DEFAULT")
MAX_INDEX = 60  # processes per machine and domain that unicast discovery finds (rmw_cyclonedds: 32); domain 232 has no more ports
# A camera image in 15 datagrams instead of 700 fragments. On loopback only: on a network one lost packet would cost a whole datagram.
LARGE_DATAGRAMS = "<MaxMessageSize>65500B</MaxMessageSize><FragmentSize>65000B</FragmentSize>"
# A process that was killed is gone for the others after 4 s instead of 10: until then it counts as a publisher and is sent requests.
LEASE = "<LeaseDuration>4s</LeaseDuration><SPDPInterval>1s</SPDPInterval>"
# A reliable keep_last writer overwrites what a stuck reader does not acknowledge, instead of waiting for it at 500 kB.
TUNING = (
    "<Internal><SocketReceiveBufferSize max='16MiB'/><SocketSendBufferSize max='4MiB'/>"
    "<Watermarks><WhcHigh>64MiB</WhcHigh></Watermarks></Internal>"
)


def domain_id(environment: Mapping[str, str] = os.environ) -> int:
    """$ROS_DOMAIN_ID or 0; UserError: not an integer from 0 to 232."""
    text = environment.get("ROS_DOMAIN_ID", "").strip() or "0"
    if not text.isdecimal() or int(text) > 232:
        raise UserError(
            f"ROS_DOMAIN_ID is {text!r}; set an integer from 0 to 232 (0 to 101 on Linux with default ports), or unset it."
        )
    return int(text)


def cyclone_config(environment: Mapping[str, str] = os.environ) -> str:
    """Configuration for `cyclonedds.domain.Domain`: fragments separated by commas; UserError: a variable that means nothing."""
    uri = environment.get("CYCLONEDDS_URI", "").strip()
    chosen = discovery_range(environment)
    if uri and not any(
        environment.get(name) for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS")
    ):
        return uri
    peers = static_peers(environment) if chosen in ("LOCALHOST", "SUBNET") else []
    fragment = f"<CycloneDDS><Domain Id='any'>{_network(chosen, peers)}{'' if uri else TUNING}</Domain></CycloneDDS>"
    return f"{fragment},{uri}" if uri else fragment


def discovery_range(environment: Mapping[str, str] = os.environ) -> str:
    """One of RANGES; ROS_LOCALHOST_ONLY (deprecated in Jazzy) goes first, as there. UserError: another word."""
    localhost_only = environment.get("ROS_LOCALHOST_ONLY", "")
    if localhost_only not in ("", "0", "1"):
        raise UserError(f"ROS_LOCALHOST_ONLY is {localhost_only!r}; set 0 or 1, or unset it.")
    if localhost_only == "1":
        return "LOCALHOST"
    word = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "") or "LOCALHOST"
    if word not in RANGES:
        raise UserError(f"ROS_AUTOMATIC_DISCOVERY_RANGE is {word!r}; set one of {', '.join(RANGES)}, or unset it.")
    return word


def static_peers(environment: Mapping[str, str] = os.environ) -> list[str]:
    """ROS_STATIC_PEERS, addresses separated by ";"; none with ROS_LOCALHOST_ONLY=1."""
    if environment.get("ROS_LOCALHOST_ONLY") == "1":
        return []
    return [peer.strip() for peer in environment.get("ROS_STATIC_PEERS", "").split(";") if peer.strip()]


def _network(chosen: str, peers: list[str]) -> str:
    if chosen == "SYSTEM_DEFAULT":
        return ""
    if chosen == "OFF":  # a tag of its own: discovery messages of others are not for this process
        return (
            "<General><Interfaces><NetworkInterface address='127.0.0.1'/></Interfaces><AllowMulticast>false</AllowMulticast></General>"
            f"<Discovery><ParticipantIndex>none</ParticipantIndex><Tag>discovery_off_{os.getpid()}</Tag></Discovery>"
        )
    listed = "".join(f"<Peer Address={quoteattr(peer)}/>" for peer in peers)
    if chosen == "SUBNET":
        return f"<Discovery><Peers>{listed}</Peers></Discovery>" if peers else ""
    interface = "" if peers else f"<Interfaces><NetworkInterface address='127.0.0.1'/></Interfaces>{LARGE_DATAGRAMS}"
    return (
        f"<General>{interface}<AllowMulticast>false</AllowMulticast></General><Discovery><ParticipantIndex>auto</ParticipantIndex>"
        f"<MaxAutoParticipantIndex>{MAX_INDEX}</MaxAutoParticipantIndex>{'' if peers else LEASE}<Peers><Peer Address='localhost'/>{listed}</Peers></Discovery>"
    )
