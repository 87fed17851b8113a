"""CQL on SAC (arXiv 2006.04779) as its authors run it offline and online: Cal-QL without the calibration.

The same losses as `robot_pt.agents.cal_ql`, so that a comparison of the two is of the calibration alone. PTR's form of CQL, with
its schedule and fixed weight on images, is `robot_pt.agents.ptr`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from robot_pt.agents.conservative import Sampled
from robot_pt.agents.conservative_agent import ConservativeAgent, ConservativeConfig


@final
class CQL(ConservativeAgent):
    """Implements `robot_pt.agents.Agent`. Online it goes on with the same update on other batches."""

    @classmethod
    def defaults(cls) -> CQLConfig:
        return CQLConfig()

    def calibrate(self, q: Sampled, return_B: Tensor) -> Sampled:
        return q


@final
@dataclass(frozen=True, kw_only=True)
class CQLConfig(ConservativeConfig):
    """No field of its own."""
