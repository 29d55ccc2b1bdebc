"""Faults of a vocabulary that no average shows: tokens that no text becomes, text that is special.

A token that never occurs in training is never trained, and does what its random vector does (Land
and Bartolo 2024, arXiv 2405.05417, call them glitch tokens and find them by these checks).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer

from stages.core.errors import CheckFailed
from stages.lm.tokenizers import encode_texts
from stages.tokenizer.stage import TokenizerParams

AT_ONCE = 4096
SHOWN = 20
LOST = "\ufffd"
"""What bytes that are no whole letters are decoded as."""
FRAMES = ("{}", " {}", "a{}b", "{0}{0}", "\n{}\n", "({})", "<{}>", "{}\u0301")


def kinds(backend: Tokenizer, params: TokenizerParams, used: set[int]) -> dict[str, Any]:
    """Count the tokens by what becomes of them when they are decoded and encoded again.

    `special` and `domain` are given; `partial` are bytes that are no whole letters; `inner` stand
    inside words only (WordPiece); of the rest `reachable` come back as themselves and
    `unreachable` do not, so no text of their own letters holds them. `unused` are those of all but
    the special ones that the held-out text has not.
    """
    special = set(range(len(params.specials())))
    domain = {backend.token_to_id(token) for token in params.domain_tokens}
    rest = [
        number
        for number in range(backend.get_vocab_size())
        if number not in special and number not in domain
    ]
    partial, inner, unreachable = 0, 0, []
    for first in range(0, len(rest), AT_ONCE):
        numbers = rest[first : first + AT_ONCE]
        texts = backend.decode_batch([[number] for number in numbers], skip_special_tokens=False)
        again = encode_texts(backend, texts)
        for number, text, ids in zip(numbers, texts, again, strict=True):
            if params.algorithm == "wordpiece" and str(backend.id_to_token(number))[:2] == "##":
                inner += 1
            elif LOST in text or _is_byte(backend, number, params):
                partial += 1
            elif ids != [number]:
                unreachable.append(number)
    unused = [number for number in rest if number not in used]
    return {
        "special": len(special),
        "domain": len(domain),
        "partial": partial,
        "inner": inner,
        "reachable": len(rest) - partial - inner - len(unreachable),
        "unreachable": len(unreachable),
        "unused": len(unused),
        "unreachable_first": [backend.id_to_token(number) for number in unreachable[:SHOWN]],
        "unused_first": [backend.id_to_token(number) for number in unused[:SHOWN]],
    }


def _is_byte(backend: Tokenizer, number: int, params: TokenizerParams) -> bool:
    token = str(backend.id_to_token(number))
    return params.algorithm == "unigram" and token.startswith("<0x") and len(token) == 6


def special_from_text(
    backend: Tokenizer, params: TokenizerParams, strings: Iterable[str]
) -> dict[str, int]:
    """Encode texts that spell special tokens; one that becomes special is a CheckFailed.

    Only `<unk>` may come of text, in WordPiece, where a letter is unknown.
    """
    specials = params.specials()
    spelled = [
        frame.format(token)
        for token in (*specials, *(token.upper() for token in specials))
        for frame in FRAMES
    ]
    texts = [*spelled, *strings]
    forbidden = {number for number, token in enumerate(specials) if token != "<unk>"}
    for text, ids in zip(texts, encode_texts(backend, texts), strict=True):
        found = forbidden.intersection(ids)
        if found:
            raise CheckFailed(
                f"the text {text!r} becomes the special token {specials[min(found)]!r}",
                "the tokenizer learned",
                "report this with the entry's parameters: text must never become a special token",
            )
    return {"texts": len(texts), "special": 0}
