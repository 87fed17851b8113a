"""Policy networks by the kind that policy.json names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robot_pt.errors import DataError
from robot_pt.networks.autoregressive import AutoregressiveNetwork
from robot_pt.networks.behavior_transformer import BehaviorTransformer
from robot_pt.networks.policies import ActorNetwork
from robot_pt.networks.policy_network import PolicyNetwork

KINDS: dict[str, type[PolicyNetwork]] = {
    network.kind: network for network in (ActorNetwork, AutoregressiveNetwork, BehaviorTransformer)
}


def policy_network(config: Mapping[str, Any]) -> PolicyNetwork:
    """Rebuild from `PolicyNetwork.config` as JSON gives it back. Raises DataError on an unknown kind, missing or unknown fields."""
    kind = config.get("kind", "")
    if kind not in KINDS:
        raise DataError(
            f"the policy is a network of kind {kind!r}, this version knows {sorted(filter(None, KINDS))}; use the version that wrote it."
        )
    return KINDS[kind].from_config(config)
