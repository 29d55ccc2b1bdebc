"""Words with their places and runs of them, against Python strings on hostile texts."""

from __future__ import annotations

import random

import numpy as np
import pytest

from stages.lm.kernels import text, wordplaces
from tests.lm.kernels import hostile


@pytest.mark.parametrize("fold", [True, False])
def test_hostile_texts_have_their_references_words(fold):
    texts = text.of_bytes(hostile.byte_strings(21, 600, 60))
    found = wordplaces.words(texts, fold=fold)
    rows = [
        (int(key), *place)
        for key, place in zip(found.hashes, found.places.tolist(), strict=True)
    ]  # fmt: skip
    own = [rows[a:b] for a, b in zip(found.bounds, found.bounds[1:], strict=False)]
    assert own == wordplaces.reference_words(texts, fold=fold)


def test_sentences_end_where_marks_stand():
    found = wordplaces.words(text.of_strings(["Unu du. Tri! kvar\nkvin… 3.5", "ses"]), fold=True)
    assert np.diff(found.sentences, prepend=found.sentences[0]).astype(bool).tolist() == [
        False, False, True, True, True, True, True, True,
    ]  # fmt: skip


def test_runs_are_found_wherever_they_stand_and_nowhere_else():
    draw = random.Random(3)
    documents = [" ".join(draw.choices("abcdef", k=draw.randrange(0, 60))) for _ in range(60)]
    documents += ["A b C d", "a b"]
    words = wordplaces.words(text.of_strings(documents), fold=True)
    wanted = ["a b c d", "f e d c", "zz a b c"]
    keys = np.concatenate(
        [
            wordplaces.run_hashes(wordplaces.words(text.of_strings([one]), fold=True).hashes, 4)
            for one in wanted
        ]
    )
    found = [tuple(row) for row in wordplaces.find(words, 4, wordplaces.table(keys)).tolist()]
    expected, before = [], 0
    for document in documents:
        own = document.lower().split()
        for at in range(len(own) - 3):
            run = " ".join(own[at : at + 4])
            expected += [(before + at, wanted.index(run))] if run in wanted else []
        before += len(own)
    assert found == expected
    assert {key for _, key in found} == {0, 1}


def test_more_finds_than_there_is_room_for_are_all_told():
    words = wordplaces.words(text.of_strings(["a " * 5000]), fold=True)
    keys = wordplaces.table(wordplaces.run_hashes(words.hashes[:3], 3))
    assert len(wordplaces.find(words, 3, keys)) == 4998
