"""Sentence features without a download: signed hashing of word and character n-grams.

Each sentence is lower-cased and cut into words; its word 1- and 2-grams and the character 3-grams of each padded word are
hashed with BLAKE2b to one of L positions and a sign, summed and scaled to length 1 (the hashing trick, Weinberger et al.,
arXiv 0902.2206). Sentences that share words or word stems point the same way; synonyms do not. The map is fixed by this
file alone: the same on every machine and in every process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from robot_pt.errors import UserError
from robot_pt.schema import Float

LANGUAGE_DIM = 256
"""Length of a sentence feature."""

_WORD = re.compile(r"[^\W_]+")


def sentence_features(sentence: str, dim: int = LANGUAGE_DIM) -> Float:
    """(dim,) float32 of length 1, or zeros for a sentence without words. Raises UserError when dim < 1."""
    if dim < 1:
        raise UserError(f"sentence features of length {dim} were asked for; give at least 1.")
    out = np.zeros(dim, np.float64)
    for gram, weight in _grams(_WORD.findall(sentence.lower())):
        code = int.from_bytes(blake2b(gram.encode(), digest_size=8).digest(), "little")
        out[(code >> 1) % dim] += weight if code & 1 else -weight
    norm = float(np.linalg.norm(out))
    return (out / norm if norm > 0 else out).astype(np.float32)


def sentence_table(sentences: Iterable[str], dim: int = LANGUAGE_DIM) -> Float:
    """(len, dim) float32; each distinct sentence is hashed once."""
    known: dict[str, Float] = {}
    rows = [known.setdefault(s, sentence_features(s, dim)) if s not in known else known[s] for s in sentences]
    return np.stack(rows) if rows else np.zeros((0, dim), np.float32)


def _grams(words: list[str]) -> Iterator[tuple[str, float]]:
    for word in words:
        yield f"1:{word}", 1.0
        padded = f"<{word}>"
        for i in range(len(padded) - 2):
            yield f"c:{padded[i : i + 3]}", 0.5
    for left, right in pairwise(words):
        yield f"2:{left} {right}", 1.0
