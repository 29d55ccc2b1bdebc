"""Statistics of a corpus for the tests of `report`."""

from __future__ import annotations

from typing import Any


def measured() -> dict[str, Any]:
    """Return what a corpus of text measures beside words."""
    lengths = {"mean": 12.4208, "median": 11, "max": 29,
               "quantiles": {"0.05": 3, "0.5": 11, "0.95": 29},
               "histogram": [{"from": 0, "documents": 31}, {"from": 8, "documents": 76}],
               }  # fmt: skip
    shares = [{"topic": -1, "before": 0.013, "after": 0.017},
              {"topic": 0, "before": 0.987, "after": 0.983}]  # fmt: skip
    group = {"documents_in": 997, "documents_dropped": 31, "dropped_fraction": 0.0311,
             "share_in": 0.7411, "share_out": 0.7373}  # fmt: skip
    words = [{"word": f"w{n}", "bias": round(0.4 - n / 19, 4), "npmi_first": 0.2111,
              "npmi_second": -0.1093, "together_first": 37 + n, "together_second": 13}
             for n in range(15)]  # fmt: skip
    return {
        "length_words": lengths,
        "length_words_by_split": {"train": lengths},
        "zipf": {
            "rank_exponent_s": 0.9151, "count_exponent_alpha": 1.8524, "ks_distance": 0.0437,
            "warnings": ["ks_distance is 0.0437, above 0.03"],
            "points": [{"rank": n, "word": "la", "count": 1553 // n, "predicted": 1501.5 / n}
                       for n in (1, 2, 3)],
        },
        "topics": {"sampled_documents": 991, "outliers": 17, "topics": [
            {"topic": 0, "label": "0_maro_ŝipo", "keywords": "maro - ŝipo", "documents": 974,
             "fraction": 0.9828},
        ]},
        "drift": {"against": "corpora/old", "words": {"js_bits": 0.0117}, "topics": {
            "alert": True, "divergence_bits": 0.0613, "noise_bits": 0.0071, "shares": shares,
        }},
        "ngram_perplexity": {"perplexity": 83.17,
                             "document_quantiles": {"0.5": 79.31, "0.95": 233.9}},
        "composition": [{"rule": "too_short", "documents_in": 1009, "documents_dropped": 41,
                         "groups": {"women": group}}],
        "associations": {"pairs": [
            {"first": "li", "second": "ŝi", "words_in_common": 613, "words": words},
        ]},
    }  # fmt: skip
