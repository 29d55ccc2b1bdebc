"""Company of terms against sets in Python."""

from __future__ import annotations

import numpy as np

from stages.lm.kernels import company
from stages.lm.kernels.vocabulary import OTHER, Numbered


def test_random_documents_as_by_the_reference():
    draw = np.random.RandomState(0)
    documents = [draw.randint(-1, 12, draw.randint(0, 15)).tolist() for _ in range(300)]
    numbers = [(0, [3]), (1, [4, 5]), (1, [4]), (2, [3, 3, 4]), (3, [OTHER]), (3, []), (0, [4, 6])]
    column = [-1, 0, 1, 2, 3, -1, 4, 5, 6, 7, 8, 9]
    found = company.Company(company.terms(numbers, 12), 4, np.array(column, np.int32))
    present = []
    for first in (0, 120):
        part = documents[first : first + 120] if first == 0 else documents[first:]
        bounds = np.concatenate([[0], np.cumsum([len(one) for one in part])]).astype(np.int64)
        ids = np.array([word for one in part for word in one], np.int32)
        present.append(found.add(Numbered(ids, bounds)))
    table, holders, columns = company.reference(documents, numbers, 4, column)
    assert found.columns.tolist() == columns
    assert found.table.tolist() == table
    assert found.holders.tolist() == holders
    assert np.concatenate(present).sum(axis=0).tolist() == holders
    assert holders[2] > 0
    assert holders[3] == 0


def test_a_term_does_not_reach_into_the_next_document():
    found = company.Company(company.terms([(0, [1, 2])], 3), 1, np.array([0, 1, 2], np.int32))
    found.add(Numbered(np.array([1, 2, 0, 1], np.int32)[[0, 1]], np.array([0, 1, 2])))
    assert found.holders.tolist() == [0]
