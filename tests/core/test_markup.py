"""Text never becomes markup."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.report.markup import Markup, join, tag


class Seen(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], ""

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def parse(markup):
    seen = Seen()
    seen.feed(str(markup))
    seen.close()
    return seen


nasty = st.text(alphabet=st.sampled_from("<>&\"'/=!-a bscript"), max_size=30)


@given(nasty, nasty)
def test_any_text_and_attribute_comes_back_as_it_was(text, attribute):
    seen = parse(tag("p", text, title=attribute))
    assert seen.tags == [("p", {"title": attribute})]
    assert seen.text == text


def test_markup_passes_and_nests():
    assert str(tag("ul", tag("li", "a < b"), Markup("<br>"), None)) == "<ul><li>a &lt; b</li><br></ul>"
    assert str(join(["a", tag("b", "c")]) + Markup("!")) == "a<b>c</b>!"


def test_attributes():
    written = str(tag("video", class_="a", aria_label="x", autoplay=True, controls=False, poster=None, width=1.5))
    assert written == '<video class="a" aria-label="x" autoplay width="1.5"></video>'


@pytest.mark.parametrize(
    ("value", "shown"), [(1.0, "1"), (1.234567, "1.23"), (0.0, "0"), (100.0, "100"), (7, "7"), (float("nan"), "n/a")]
)
def test_numbers_are_short(value, shown):
    assert str(tag("td", value)) == f"<td>{shown}</td>"


def test_void_elements_hold_nothing():
    assert str(tag("meta", charset="utf-8")) == '<meta charset="utf-8">'
    with pytest.raises(AssertionError):
        tag("br", "text")
