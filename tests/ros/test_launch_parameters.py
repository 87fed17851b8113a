"""`param`: the types launch_ros gives, checked on what a YAML reader finds in the file that the node gets."""

import textwrap

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import DataError
from robot_pt_ros.launch_runner import description, parameters
from robot_pt_ros.launch_runner.substitutions import Context, coerce


def evaluated(tmp_path, param, **configurations):
    """{name: value} over all named entries of a `param` list in YAML."""
    path = tmp_path / "a.launch.yaml"
    path.write_text("launch:\n- node:\n    exec: e\n    param:\n" + textwrap.indent(textwrap.dedent(param), "    "))
    (node,) = description.load(path)
    context = Context(path, configurations)
    entries = [parameters.evaluate(p, context) for p in node.parameters]
    return {name: value for entry in entries for name, value in entry.items()}


# The pairs follow what launch_ros' own tests state for its YAML frontend; `s` and `l` are what `let` gave there.
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ads", "ads"),
        ("2", 2),
        ("'2'", "2"),
        ("true", True),
        ("0.5", 0.5),
        ("[2, 5, 8]", [2, 5, 8]),
        ("[2., 5., 8.]", [2.0, 5.0, 8.0]),
        ("['2', '5']", ["2", "5"]),
        ("[\"'2'\", \"'5'\"]", ["'2'", "'5'"]),
        ("[\"\\\\'2\\\\'\"]", ["'2'"]),
        ("['\\asd', '\\bsd']", ["asd", "bsd"]),
        ("''", ""),
        ("$(var l)", [2, 5, 8]),
        ("$(var s)", "[2, 5, 8]"),
        ("$(var n)", 5),
        ("$(var empty)", ""),
        ("['$(var n)', '$(var n)']", [5, 5]),
        ("a$(var n)", "a5"),
    ],
)
def test_values_without_a_type(tmp_path, value, expected):
    given_ = {"s": "'[2, 5, 8]'", "l": "[2, 5, 8]", "n": "5", "empty": ""}
    found = evaluated(tmp_path, f"- {{name: p, value: {value}}}\n", **given_)["p"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("str", "$(var n)", "5"),
        ("float", "$(var n)", 5.0),
        ("float", "'2'", 2.0),
        ("float", "1.5", 1.5),
        ("int", "$(var n)", 5),
        ("bool", "$(var one)", True),
        ("bool", "$(var on)", True),
        ("list_of_float", "['$(var n)', 0.5]", [5.0, 0.5]),
        ("list_of_str", "[a, $(var n)]", ["a", "5"]),
        ("list_of_int", "[1, 2]", [1, 2]),
        ("yaml", "$(var n)", 5),
    ],
)
def test_values_with_a_type(tmp_path, kind, value, expected):
    given_ = {"n": "5", "one": "1", "on": "True", "floats": "[0.5, 1.0]"}
    found = evaluated(tmp_path, f"- {{name: p, value: {value}, type: {kind}}}\n", **given_)["p"]
    assert found == expected
    assert type(found) is type(expected)


def test_nested_entries_become_names_with_dots(tmp_path):
    text = """\
        - name: group
          param:
          - {name: a, value: 1}
          - name: $(var inner)
            param: [{name: b, value: x}]
        - {name: top, value: 2}
        """
    assert evaluated(tmp_path, text, inner="deep") == {"group.a": 1, "group.deep.b": "x", "top": 2}


@pytest.mark.parametrize(
    ("param", "says"),
    [
        ("{value: 1}", "either `name` with a `value`, or `from`"),
        ("{name: a, from: b}", "either `name` with a `value`, or `from`"),
        ("{name: a}", "either a `value` or nested"),
        ("{name: a, value: 1, param: [{name: b, value: 1}]}", "either a `value` or nested"),
        ("{name: a, type: int, param: [{name: b, value: 1}]}", "`type` of a `param`"),
        ("{name: a, value: 1, type: double}", "give one of str, bool"),
        ("{name: a, value: 1, type: float}", "not of its `type` float"),
        ("{name: a, value: [1], type: int}", "not of its `type` int"),
        ("{name: a, value: 1, type: list_of_int}", "not of its `type` list_of_int"),
        ("{name: a, value: [1, 0.5]}", "mixes kinds"),
        ("{name: a, value: []}", "give true or false, a number"),
        ("{name: a, value: {b: 1}}", "give true or false, a number"),
        ("{name: a, value: }", "give true or false, a number"),
        ("{name: a, value: 2024-01-01}", "give true or false, a number"),
        ("{name: a, value: 1, if: 'true'}", "does not take `if`"),
        ("{from: a, allow_substs: true}", "does not take `allow_substs`"),
        ("{name: 3, value: 1}", "write '3' in quotes"),
        ("{name: a, value: $(var nothing)}", "$(var nothing) is no argument"),
        ("{name: a, value: $(var text), type: int}", "parameter a:"),
        ("{name: a, value: $(var text), type: float}", "parameter a:"),
        ("{name: a, value: $(var text), type: bool}", "neither true nor false"),
        ("{name: a, value: $(var ints), type: list_of_int}", "leave `type` away"),
        ("{name: a, value: ['$(var text)'], type: list_of_int}", "parameter a:"),
        ("{name: a, value: $(var dict)}", "no scalar or list of one kind"),
        ("{name: a, value: $(var broken)}", "cannot be read as YAML"),
        ("{name: a, value: $(var none)}", "no scalar or list of one kind"),
        ("{name: a, value: ['$(var ints)']}", "a list inside a list"),
        ("{name: a, value: [b, $(var n)]}", "mixes kinds"),
    ],
)
def test_values_that_launch_cannot_type_are_refused(tmp_path, param, says):
    given_ = {"text": "abc", "ints": "[1, 2]", "dict": "a: b", "broken": "[", "none": "null", "n": "5"}
    with pytest.raises(DataError) as error:
        evaluated(tmp_path, f"- {param}\n", **given_)
    assert says in str(error.value)
    assert "a.launch.yaml:5: " in str(error.value)
    assert "\n" not in str(error.value)


scalars = st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.dictionaries(st.text(min_size=1), scalars | st.lists(st.text(), min_size=1)), st.sampled_from([None, "/a/b"]))
def test_the_file_says_exactly_the_values(values, node):
    assert yaml.safe_load(parameters.dump(values, node)) == {node or "/**": {"ros__parameters": values}}


@pytest.mark.parametrize(
    "word", ["y", "n", "on", "1e5", "0x10", "~", ".5", "null", "1_000", "", "5", "true", "#", "a: b"]
)
def test_text_is_quoted_because_ros_reads_yaml_differently(word):
    assert f'"{word}"' in parameters.dump({"p": word}, None).splitlines()[-1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("-inf")]])
def test_numbers_that_are_none_never_reach_a_node(value):
    with pytest.raises(DataError, match="finite"):
        parameters.dump({"speed": value}, None)


@given(st.integers(-(2**60), 2**60))
def test_text_of_an_int_becomes_it(number):
    assert coerce(str(number), None) == coerce(str(number), "int") == number


@pytest.mark.parametrize(("kind", "said"), [("int", "'x' is no whole number"), ("float", "'x' is no number")])
def test_text_that_is_no_number_is_a_sentence(kind, said):
    with pytest.raises(ValueError, match=said):
        coerce("x", kind)


@given(st.text(max_size=20), st.sampled_from([None, "bool", "int", "float"]))
def test_any_text_becomes_a_value_of_its_type_or_a_sentence(text, kind):
    try:
        made = coerce(text, kind)
    except ValueError:
        return
    items = made if isinstance(made, list) else [made]
    assert all(type(item) in (bool, int, float, str) for item in items)
