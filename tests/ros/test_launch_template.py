"""Launch file text: what launch's grammar reads, read; what it does not, refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import DataError
from robot_pt_ros.launch_runner.template import Call, Text, parse, plain, unescape


def call(name, *arguments):
    """`$(name ...)` with each argument given as one text or as a tuple of parts."""
    return Call(name, tuple((Text(a),) if isinstance(a, str) and a else a or () for a in arguments))


# Right-hand sides were read off launch's grammar run by a parser generator, not off this parser.
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        ("plain (text) with 'quotes'", (Text("plain (text) with 'quotes'"),)),
        ("$(var a)", (call("var", "a"),)),
        ("x$(var a)y", (Text("x"), call("var", "a"), Text("y"))),
        ("$(env X '')", (call("env", "X", ""),)),
        ("$(env X 'a b')", (call("env", "X", "a b"),)),
        ('$(env X "it\'s")', (call("env", "X", "it's"),)),
        ("$(dirname)/a b", (call("dirname"), Text("/a b"))),
        ("$(var a$(var b)c)", (call("var", (Text("a"), call("var", "b"), Text("c"))),)),
        ("$(eval '1 + $(var b)')", (call("eval", (Text("1 + "), call("var", "b"))),)),
        ('$(eval \'"$(var b)" == "c"\')', (call("eval", (Text('"'), call("var", "b"), Text('" == "c"'))),)),
        (r"\$(var a)", (Text("$(var a)"),)),
        (r"\\$(var a)", (Text(r"\$(var a)"),)),
        (r"a\b\\c", (Text(r"ab\c"),)),
        (r"$(env X a\(b\))", (call("env", "X", "a(b)"),)),
        (r"$(env X '\'')", (call("env", "X", "'"),)),
        ("a\\", (Text("a\\"),)),
        ("tab\there\nand there", (Text("tab\there\nand there"),)),
        ("$(if $(var s) sim arm)", (call("if", (call("var", "s"),), "sim", "arm"),)),
    ],
)
def test_text_becomes_parts(text, parts):
    assert parse(text) == parts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5 $ or less", "write \\$"),
        ("$", "write \\$"),
        ("$()", "without a name"),
        ("$(1)", "without a name"),
        ("$( var a)", "without a name"),
        ("$(var a", "not closed"),
        ("$(var", "not closed"),
        ("$(var a )", "separate arguments by one space"),
        ("$(var  a)", "separate arguments by one space"),
        ("$(env X 'a)", "a ' in"),
        ("$(env X 'a'b)", "not closed"),
        ("$(env X a(b))", "not closed"),
        ("$(eval '$(var a b')", "not closed"),
    ],
)
def test_what_launch_cannot_read_is_refused(text, says):
    with pytest.raises(DataError, match=re.escape(says)):
        parse(text)


def test_plain_text_is_known_as_such():
    assert plain(parse("a b")) == "a b"
    assert plain(parse("")) == ""
    assert plain(parse("a $(var b)")) is None


@given(st.text(st.characters(exclude_characters="$\\")))
def test_text_without_dollar_and_backslash_stands_for_itself(text):
    assert "".join(part.text for part in parse(text)) == text


@given(st.text(alphabet="$()'\" \\avr-1\t\n", max_size=30))
def test_any_text_is_read_or_refused_and_nothing_is_lost(text):
    try:
        parts = parse(text)
    except DataError:
        return
    if "$(" not in text:
        assert plain(parts) == unescape(text)


@given(st.text(st.characters(exclude_characters="\\"), max_size=20))
def test_an_escaped_text_comes_through_a_quoted_argument(text):
    quoted = re.sub(r"(['$])", r"\\\1", text)
    (part,) = parse(f"$(env X '{quoted}')")
    assert "".join(p.text for p in part.arguments[1]) == text
