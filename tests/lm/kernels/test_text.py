"""Texts in two arrays: what Arrow and Python hold, there and back, without a copy where it can."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from stages.lm.kernels import text
from tests.lm.kernels import hostile

GIVEN = ["unu", "", "ĉu ŝi?", "漢😀"]
PLAIN = pa.array(GIVEN, pa.large_string())
FORMS = {
    "large_string": PLAIN,
    "string": PLAIN.cast(pa.string()),
    "string_view": PLAIN.cast(pa.string()).cast(pa.string_view()),
    "binary": PLAIN.cast(pa.binary()),
    "large_binary": PLAIN.cast(pa.large_binary()),
    "dictionary": pa.array(["x", *GIVEN, "unu"]).dictionary_encode()[1:5],
    "sliced": pa.array(["before", *GIVEN, "behind"]).slice(1, 4),
    "null": pa.array(["unu", None, "ĉu ŝi?", "漢😀"]),
    "chunks": pa.chunked_array([["unu", ""], [], ["ĉu ŝi?", "漢😀"]]),
    "one chunk": pa.chunked_array([PLAIN]),
    "dictionary chunks": pa.chunked_array(
        [pa.array(GIVEN[:2]).dictionary_encode(), pa.array(GIVEN[2:]).dictionary_encode()]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_arrow_give_the_same_texts(form):
    got = text.of_arrow(FORMS[form])
    assert text.to_strings(got) == GIVEN
    assert got.offsets[0] == 0
    assert got.offsets[-1] == len(got.data)
    assert got.offsets.dtype == np.int64


def test_empty_arrays_and_arrays_of_nulls():
    for array in (
        pa.array([], pa.string()),
        pa.array([], pa.null()),
        pa.chunked_array([], "string"),
    ):
        assert text.of_arrow(array).documents == 0
    assert text.to_strings(text.of_arrow(pa.array([None, None]))) == ["", ""]
    assert text.to_strings(text.of_arrow(pa.array(["", ""]))) == ["", ""]
    assert text.of_strings([]).documents == text.concatenated([]).documents == 0


def test_a_null_with_bytes_behind_it_is_empty():
    validity = pa.py_buffer(bytes([0b101]))
    places = pa.py_buffer(np.array([0, 1, 4, 5], np.int32))
    array = pa.StringArray.from_buffers(3, places, pa.py_buffer(b"axxxb"), validity)
    assert text.to_strings(text.of_arrow(array)) == ["a", "", "b"]


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="int64"):
        text.of_arrow(pa.array([1]))


def test_views_share_memory():
    got = text.of_arrow(PLAIN)
    assert np.shares_memory(got.data, np.frombuffer(PLAIN.buffers()[2], np.uint8))
    back = text.to_arrow(got)
    assert back.equals(PLAIN)
    assert back.buffers()[2].address == PLAIN.buffers()[2].address
    part = got.part(1, 3)
    assert text.to_strings(part) == GIVEN[1:3]
    assert np.shares_memory(part.data, got.data)


def test_lone_surrogates_stay_and_arrow_refuses_them_by_number():
    texts = text.of_strings(["good", "a\ud800b"])
    assert text.to_strings(texts) == ["good", "a\ud800b"]
    with pytest.raises(UnicodeDecodeError, match="document 1"):
        text.to_arrow(texts)


def test_hostile_strings_come_back():
    given = hostile.strings(3, 500)
    assert text.to_strings(text.of_strings(given)) == given
    assert text.to_strings(text.of_strings(iter(given))) == given
    parts = [text.of_strings(given[:100]), text.of_strings(given[100:])]
    whole = text.concatenated(parts)
    assert text.to_strings(whole) == given
    assert whole.offsets.tolist() == text.of_strings(given).offsets.tolist()


def test_each_stray_byte_is_one_replacement():
    assert text.decoded(b"a\xe2\x82b\xc0\x80\xed\xa0\x80") == "a\ufffd\ufffdb\ufffd\ufffd\ud800"
