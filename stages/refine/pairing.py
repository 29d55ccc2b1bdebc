"""What rules of parallel text may be set to; `bitext` applies them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from stages.core.declare import Params
from stages.refine.scripts import SCRIPTS


class PairRules(Params):
    """Thresholds of the rules for pairs; each names where it comes from."""

    max_character_ratio: float = Field(3.0, ge=1)
    """Larger ratio of characters between the sides, each plus 15: `character_ratio` (Bicleaner's
    hard rules: 3 without the constant, which spares short sentences)."""
    max_shared_words: float = Field(0.9, ge=0, le=1)
    """A larger share of words that stand on both sides, from four words on: `copied` (OpusFilter's
    SimilarityFilter: 0.9); 1 is off."""
    min_letter_share: float = Field(0.1, ge=0, le=1)
    """A side with fewer letters among its characters: `few_letters` (Bicleaner's
    no_only_symbols: 0.1)."""
    source_script: str = "auto"
    """Script of the source side: `latin`, `cyrillic`, ...; `auto` is the script of
    `source_language`, `none` does not look."""
    target_script: str = "auto"
    """Script of the target side."""
    min_script_share: float = Field(0.7, ge=0, le=1)
    """A side with fewer of its letters in its script: `script` (OpusFilter's CharacterScoreFilter:
    1, which loses every sentence with a foreign name in it)."""
    min_number_agreement: float = Field(0.5, ge=0, le=1)
    """Digits other than 0 that agree in order, as a share of both sides': `numbers` (OpusFilter's
    NonZeroNumeralsFilter, Vázquez et al. 2019: 0.5); 0 is off."""
    numbers_in_words: bool = True
    """Whether a side without any digit may have its numbers in words."""
    placeholders: Literal["same", "any"] = "same"
    """Whether both sides must have the same `%s`, `{name}`, `${name}`, tags and addresses:
    `placeholders` (gettext's msgfmt --check-format; OpusFilter's HtmlTagFilter)."""
    max_punctuation_penalty: int = Field(6, ge=0)
    """Difference of ends of sentences (`. ... ? !`) between the sides, plus those after the first
    on each: `punctuation` (OpusFilter's TerminalPunctuationFilter: -2, which is 6)."""
    misaligned: Literal["drop", "keep"] = "drop"
    """Pairs in a run of lines whose lengths agree with other lines than their own: `misaligned`
    (lengths as in Gale & Church 1993)."""
    near_duplicates: Literal["none", "letters", "aggressive"] = "none"
    """Pairs that are equal, side by side, in their letters and digits (`letters`), or in letters
    without accents, every digit being one (`aggressive`, as Bifixer's, Ramírez-Sánchez et al.
    2020): the first stays, later ones are `near_pair`."""
    max_targets: int = Field(0, ge=0)
    """Of different translations of one source, so many stay, the first: `many_targets`; 0 keeps
    all."""
    max_sources: int = Field(0, ge=0)
    """Of different sources of one translation, so many stay, the first: `many_sources`; 0 keeps
    all."""

    @field_validator("source_script", "target_script")
    @classmethod
    def _written(cls, value: str) -> str:
        if value not in ("auto", "none", *SCRIPTS):
            raise ValueError(f"no script {value!r}; known: auto, none, {', '.join(SCRIPTS)}")
        return value
