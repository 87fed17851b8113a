"""$(eval ...): Python's own answers for what it can do, one sentence for what it must not."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import DataError
from robot_pt_ros.launch_runner.expression import evaluate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2", "3"),
        ("2 ** 3 ** 2", "512"),
        ("-7 // 2", "-4"),
        ("7 % 4 / 2", "1.5"),
        ("'sim' == 'sim'", "True"),
        ("'sim' != 'sim' or 1 < 2 <= 2", "True"),
        ("not ('a' in 'abc')", "False"),
        ("0 or 'fallback'", "fallback"),
        ("1 and 0", "0"),
        ("['a'] + ['b'] * 2", "['a', 'b', 'b']"),
        ("('x', 1)[0]", "x"),
        ("{'sim': 'panda'}['sim']", "panda"),
        ("'a' if 'x' is None else 'b'", "b"),
        ("round(cos(pi), 3)", "-1.0"),
        ("math.pi", str(math.pi)),
        ("math.sqrt(16)", "4.0"),
        ("max(1, 2.5)", "2.5"),
        ("'/Sim/'.strip('/').lower()", "sim"),
        ("float('1e3')", "1000.0"),
        (" 3", "3"),
    ],
)
def test_values_are_those_of_python(expression, value):
    assert evaluate(expression) == value


numbers = st.one_of(st.integers(-50, 50), st.floats(-50, 50, allow_nan=False).map(lambda f: round(f, 3)))
expressions = st.recursive(
    numbers.map(repr),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "<", "==", "and", "or"]), inner)
        | st.builds("(-{})".format, inner)
        | st.builds("({} if {} else {})".format, inner, inner, inner)
        | st.builds("[{}, {}][0]".format, inner, inner)
    ),
    max_leaves=8,
)


@given(expressions)
def test_any_arithmetic_gives_what_python_gives(expression):
    assert evaluate(expression) == str(eval(expression, {"__builtins__": {}}))


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("__import__('os')", "cannot do '__import__'"),
        ("open('/etc/passwd')", "cannot do 'open'"),
        ("().__class__", "cannot do '().__class__'"),
        ("'a'.format('b')", "cannot do"),
        ("'%s' % 'a'", "formats no text"),
        ("[x for x in [1]]", "cannot do"),
        ("lambda: 1", "cannot do"),
        ("str.lower('A')", "cannot do"),
        ("10 ** 10 ** 10", "size"),
        ("'a' * 99999", "size"),
        ("[0] * 10001", "size"),
        ("factorial(100000)", "cannot call 'factorial'"),
        ("pi()", "cannot call"),
        ("max(*[1])", "cannot do"),
        ("sim == 'sim'", "cannot do 'sim'"),
        ("1 / 0", "division by zero"),
        ("'a' + 1", "fails"),
        ("1 +", "fails"),
        ("", "fails"),
        ("(" * 500, "fails"),
        ("1" * 10_001, "at most"),
        ("'a'['b']", "fails"),
    ],
)
def test_everything_else_is_refused_in_one_sentence(expression, says):
    with pytest.raises(DataError, match="eval") as error:
        evaluate(expression)
    assert says in str(error.value)


@given(st.text(alphabet="0123456789+-*/()[]'\" a.bcl<=>,{}:_if", max_size=25))
def test_no_text_ends_in_anything_but_a_value_or_a_sentence(text):
    with contextlib.suppress(DataError):
        evaluate(text)
