import subprocess
import sys

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.language import LANGUAGE_DIM, sentence_features, sentence_table


def test_features_are_unit_length_and_ignore_case_and_punctuation():
    one = sentence_features("Put the carrot on the plate.")
    assert one.shape == (LANGUAGE_DIM,)
    assert one.dtype == np.float32
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(one, sentence_features("put THE carrot, on the plate!"))


def test_no_words_no_direction():
    for empty in ("", "  ", "?!"):
        np.testing.assert_array_equal(sentence_features(empty), np.zeros(LANGUAGE_DIM))


def test_alike_sentences_are_closer_than_unlike_ones_and_order_counts():
    base = sentence_features("put the carrot on the plate")
    near = base @ sentence_features("put the carrots on a plate")
    far = base @ sentence_features("open the microwave door")
    swapped = base @ sentence_features("put the plate on the carrot")
    assert far < 0.35 < near < 1
    assert swapped < 1 - 1e-3


def test_the_same_in_another_process_whatever_the_hash_seed():
    code = "from robot_pt.language import sentence_features as f; print(f('lift the red cube', 32).tolist())"
    out = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert out[0] == out[1]
    np.testing.assert_allclose(np.array(eval(out[0])), sentence_features("lift the red cube", 32))


def test_table_rows_are_the_sentences():
    table = sentence_table(["lift", "stack", "lift"], 16)
    assert table.shape == (3, 16)
    np.testing.assert_array_equal(table[0], table[2])
    np.testing.assert_array_equal(table[1], sentence_features("stack", 16))
    assert sentence_table([], 16).shape == (0, 16)


def test_length_below_one_is_refused():
    with pytest.raises(UserError, match="at least 1"):
        sentence_features("lift", 0)
