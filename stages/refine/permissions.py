"""Which documents may be used: allowed licences, lists of those who opted out, lists of words."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from stages.core.declare import Params

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*(?: WITH [A-Za-z0-9][A-Za-z0-9.+-]*)?")
"""An SPDX identifier, alone or with an exception."""


class WordList(Params):
    """A list of words or phrases, one a line; case does not count, nor do `#` lines."""

    file: str
    """Its path in `lists`, such as `words/eo.txt`."""
    action: Literal["drop", "count"] = "drop"
    """Drop a document that holds enough of them (`safety_words`), or only count."""
    min_hits: int = Field(1, ge=1)
    """Hits that are enough."""
    match: Literal["words", "anywhere"] = "words"
    """Whole words in a row, whatever stands between them, or anywhere in the text (languages that
    put no blanks between words)."""


class Permitted(Params):
    """Which licences, makers and words are accepted; what is empty is not asked."""

    licences: list[str] = []
    """SPDX identifiers that are allowed; case does not count. Of `MIT OR GPL-2.0-only` one
    must be, of `MIT AND GPL-2.0-only` and of a list of licences all. Others:
    `licence_not_allowed`."""
    unstated: Literal["drop", "keep"] = "drop"
    """What becomes of documents whose record or source states no licence: `licence_not_stated`."""
    opt_out: list[str] = []
    """Files in `lists` that say whose documents go (`opted_out`), one a line:
    `repository:owner/name`, `repository:owner/*`, `author:name`, `host:example.org` (and what is
    below it), `id:name`."""
    words: list[WordList] = []
    """Lists of words that speak against a document."""

    @field_validator("licences")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        wrong = [one for one in value if not IDENTIFIER.fullmatch(one)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no SPDX identifier, such as MIT or CC-BY-SA-4.0")
        return value

    def check(self, lists: bool, kind: str, intact: bool) -> None:
        """Raise ValueError where the rest of the entry does not go with this."""
        if not (self.licences or self.opt_out or self.words):
            return
        if kind != "text" or intact:
            what = "intact" if intact else kind
            raise ValueError(f"permitted asks documents of the kind text, this entry is {what}")
        if (self.opt_out or self.words) and not lists:
            raise ValueError("permitted names files, but `lists` is none: give raw/<key>")
