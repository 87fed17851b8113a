"""Which objective, on which data, for which shift: the protocol that compares frozen encoders, without a simulator in it.

After "Investigating Pre-Training Objectives for Generalization in Vision-Based Reinforcement Learning" (ICML 2024; dojeon-ai/Atari-PB):
pretrain an encoder, freeze it, learn a head by imitation from a few demonstrations and online by RL, on tasks of three distances, beside
a frozen random encoder and training from scratch. What is compared with what is a `Protocol`, read from a file; `recipes/compare.py` runs it.
"""

from robot_pt.comparison.protocol import Cell, Distance, Material, Protocol, read_protocol
from robot_pt.comparison.scores import CONTROLS, FROM_SCRATCH, PERMUTED, RANDOM_FROZEN, Row, rows_of

__all__ = [
    "CONTROLS", "FROM_SCRATCH", "PERMUTED", "RANDOM_FROZEN", "Cell", "Distance", "Material", "Protocol", "Row", "read_protocol", "rows_of",
]  # fmt: skip
