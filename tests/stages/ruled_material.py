"""What rules, permissions and an identifier left behind, as a corpus of the report has it."""

from __future__ import annotations

from typing import Any

RULED: dict[str, Any] = {
    "models/identifiers/all/report.json": {
        "languages": {
            "eo": {"pieces_trained": 1801, "bytes_trained": 90017, "held_out": {
                "count": 211, "right": 207, "share": 0.981043, "interval_95": [0.9523, 0.9926]}},
            "ia": {"pieces_trained": 9, "bytes_trained": 411}},
        "without_held_out": ["ia"],
        "by_characters": [{"characters": 20, "count": 203, "share": 0.9113,
                           "interval_95": [0.8644, 0.943]}],
    },
    "data/corpora/eo/filtering.json": {
        "samples": [
            {"rule": "exact_duplicate", "documents": 12, "texts": ["Jen 1.", "Jen 2."]}],
        "private": {"email": 7, "ip": 0},
        "biases": [{"first": "li", "second": "ŝi", "word": "forta", "bias": 0.1213,
                    "steps": [{"before": "exact_duplicate", "bias": 0.2131}]},
                   {"first": "li", "second": "ŝi", "word": "bela", "bias": -0.0931,
                    "steps": [{"before": "exact_duplicate", "bias": None}]}],
        "scores": [{"rule": "gopher-quality/few_words", "side": "under", "threshold": 50,
                    "documents_dropped": 5,
                    "bins": [{"from": 0, "kept": 0, "dropped": 5},
                             {"from": 61.5, "kept": 31, "dropped": 0}]}]},
    "data/corpora/eo/permissions.json": {
        "licences": [{"licence": "MIT", "documents": 71, "kept": 68, "opted_out": 3},
                     {"licence": "not stated", "documents": 5, "licence_not_stated": 5}],
        "opted_out": {"met": [{"entry": "author:petro", "documents": 3}]},
        "words": [{"file": "eo.txt", "action": "drop", "documents_with_hits": 19, "hits": 27,
                   "documents_with_enough": 17}]},
}  # fmt: skip
