"""Row 17 of the faults: names of any bytes as text, without loss and without ambiguity."""

import json
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eosin.errors import SlideOpenError
from eosin.names import escaped, shown, unescaped
from eosin.plain import from_json, to_json
from eosin.report.page import Page, Section, paragraph, table

NAMES = st.text(
    st.one_of(
        st.sampled_from(list("\\x{}AFC05 \n\t\0\x7f\x85\u202e\u2028\udcfc\udc80\ud800\U0001f600")),
        st.characters(exclude_categories=()),
    )
)


@given(NAMES)
@example("M\udcfcller\n.svs")
@example(r"\xFC \x5C \x{202E} \\x0A")
@example("\\\udcfc")
def test_any_name_comes_back_from_one_line_of_text(name):
    """Row 17 of the faults: stored losslessly, whatever the name is."""
    text = escaped(name)
    assert text.encode().decode() == text
    assert len(text.splitlines()) <= 1
    assert unescaped(text) == name


@given(NAMES, NAMES)
@example("\udcfc", r"\xFC")
@example("\n", r"\x0A")
def test_no_two_names_share_a_text(one, other):
    assert (escaped(one) == escaped(other)) == (one == other)


@given(st.binary(min_size=1))
def test_the_bytes_of_a_file_name_come_back(name):
    assert os.fsencode(unescaped(escaped(os.fsdecode(name)))) == name


@pytest.mark.parametrize(
    "name",
    ["a.svs", "Präparat 2 (µ).svs", "标本.svs", "👩‍🔬 नमस्ते.svs", "C:\\x\\new.svs", r"\xfc.svs"],
)
def test_ordinary_names_stay_as_they_are(name):
    assert escaped(name) == name == unescaped(name)


def test_a_byte_is_readable_in_the_text():
    assert escaped(os.fsdecode("Müller.svs".encode("latin-1"))) == r"M\xFCller.svs"


def test_json_with_any_names_is_plain_for_every_parser_and_comes_back():
    values = {"M\udcfc": ["a\nb", {"\u202e": None}], "n": [1, 2.5, True]}
    text = to_json(values)
    text.encode()
    # A lone surrogate, which JSON may spell, is refused by many parsers.
    "".join(json.loads(text)).encode()
    assert from_json(text) == values


def test_json_of_earlier_versions_is_still_read():
    assert from_json(json.dumps({"path": "M\udcfc\n.svs"})) == {"path": "M\udcfc\n.svs"}


def test_json_that_is_nested_too_deeply_is_no_json():
    """Row 33 of the faults."""
    with pytest.raises(ValueError, match="nested too deeply"):
        from_json("[" * 100_000)


def test_a_page_and_an_error_show_any_name():
    name = "M\udcfc\u202e<b>\0"
    section = Section(heading=name, blocks=(paragraph(name), table(("slide",), [(name,)])))
    page = Page(title=name, summary=name, sections=(section,)).render()
    page.encode()
    assert page.count(r"M\xFC\x{202E}&lt;b&gt;\x00") == 7
    assert str(SlideOpenError("M\udcfc\n.svs", "is empty")) == r"M\xFC\x0A.svs: is empty"


@given(NAMES)
def test_what_is_shown_is_one_line_and_escapes_nothing_twice(name):
    text = shown(f"{escaped(name)}: is empty")
    assert text == f"{escaped(name)}: is empty"
    assert len(shown(name).encode().decode().splitlines()) <= 1
