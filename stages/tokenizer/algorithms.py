"""The ways to a vocabulary, each with the same bytes out in every process.

Byte-level BPE is ours (`stages.lm.kernels.merges`), token for token what `tokenizers`' own trainer
learns, and deterministic as that is. The library's WordPiece trainer numbers the inner pieces
(`##a`) in the order of a hash map, and ties between pairs are broken by these numbers: here the
whole alphabet is counted first and handed over sorted, as tokens that are there already, so that
nothing is left to the map (tokenizers issues 1794, 2066). Its Unigram trainer sums floats in the
order of such a map in several threads, which cannot be mended from outside: SentencePiece does that
work, each thread its own share in a fixed order, and the pieces with their scores become a Unigram
model of `tokenizers`. `bytes` learns nothing.

Texts come normalised and without domain tokens (`stages.tokenizer.preparation`).
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from stages.core.errors import CheckFailed
from stages.lm import bytelevel
from stages.lm.kernels.wordcounts import Words
from stages.lm.spelling import SPACE, spellings
from stages.tokenizer.normalisers import rendered
from stages.tokenizer.preparation import digits
from stages.tokenizer.stage import TokenizerParams

INNER = "##"
"""What a piece inside a word begins with (BERT)."""
NEVER = -1.0e6
"""Score of tokens that no text may be cut into: special tokens, and bytes as they are spelled."""
LONGEST_LINE_BYTES = 1 << 20
AT_ONCE = 4096
EDGE = "\ue000"
"""What tells SentencePiece where a piece may not go on: digits set apart; lines with it are left
out of learning."""

Texts = Iterable[list[str]]
Learn = Callable[[TokenizerParams, list[AddedToken], Texts], Tokenizer]


def learn(params: TokenizerParams, first: list[AddedToken], texts: Texts) -> Tokenizer:
    """Learn a vocabulary of at most `vocab_size` tokens from batches of texts.

    It begins with the tokens `first`: the special ones, then those of the domain.
    """
    return ALGORITHMS[params.algorithm](params, first, texts)


def bpe(params: TokenizerParams, first: list[AddedToken], words: Words) -> Tokenizer:
    """Learn byte-level BPE (GPT-2) from counted words, token for token as `tokenizers` does."""
    plain = [token.content for token in first]
    model = bytelevel.learned_model(
        words, plain, params.vocab_size, params.min_frequency, _unknown(params)
    )
    if any(not token.special for token in first):
        merges = json.loads(model.__getstate__())["merges"]
        _apart(first, ("".join(pair) for pair in merges))
    backend = Tokenizer(model)
    cut = digits(params)
    backend.pre_tokenizer = (
        pre_tokenizers.Sequence([cut, bytelevel.splitter(False)])
        if cut
        else bytelevel.splitter(False)
    )
    backend.decoder = decoders.ByteLevel()
    return _finished(backend, params, first)


def every_byte(params: TokenizerParams, first: list[AddedToken]) -> Tokenizer:
    """Return the vocabulary of special tokens, the bytes in their order, and domain tokens.

    Without domain tokens the ids are those of Perceiver: byte b is b + 6, 262 in all.
    """
    special = [token.content for token in first if token.special]
    domain = [token.content for token in first if not token.special]
    names = [*special, *spellings(), *domain]
    backend = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, []))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = byte_level
    backend.decoder = decoders.ByteLevel()
    return _finished(backend, params, first)


def _finished(backend: Tokenizer, params: TokenizerParams, first: list[AddedToken]) -> Tokenizer:
    """Give a tokenizer what reads and changes text before its model does."""
    steps = rendered(params.normalise)
    if steps is not None:
        backend.normalizer = steps
    backend.add_special_tokens([token for token in first if token.special])
    backend.add_tokens([token for token in first if not token.special])
    return backend


def wordpiece(params: TokenizerParams, first: list[AddedToken], texts: Texts) -> Tokenizer:
    """Learn WordPiece as `tokenizers` does (pairs by frequency), from a counted, sorted alphabet.

    Words are what white space and punctuation separate; white space itself is not kept.
    """
    words: Counter[str] = Counter()
    splitter = _word_splitter(params)
    for batch in texts:
        for text in batch:
            words.update(word for word, _ in splitter.pre_tokenize_str(text))
    letters = sorted({letter for word in words for letter in word})
    inner = [INNER + letter for letter in sorted({one for word in words for one in word[1:]})]
    plain = [token.content for token in first]
    special = [token.content for token in first if token.special]
    domain = plain[len(special) :]
    alphabet = [*special, *letters, *inner]
    least = len(alphabet) + len(domain)
    if least > params.vocab_size:
        raise CheckFailed(
            f"vocab_size {params.vocab_size} is smaller than the alphabet: {least} tokens are"
            " special, of the domain, or single letters of this corpus",
            "tokenizer: vocab_size",
            f"set vocab_size to {least} or more, normalise the text, or set algorithm to `bpe`",
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=params.vocab_size - len(domain),
        min_frequency=params.min_frequency,
        show_progress=False,
        special_tokens=alphabet,
        continuing_subword_prefix=INNER,
    )
    learner = Tokenizer(models.WordPiece(unk_token="<unk>"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # In sorted order and each as often as it came: the trainer sees the same words in any process.
    learner.train_from_iterator(_counted(words), trainer)
    found = sorted(learner.get_vocab().items(), key=lambda row: row[1])
    names = [name for name, _ in found[len(special) :]]
    _apart(first, names)
    vocabulary = {name: number for number, name in enumerate([*plain, *names])}
    backend = Tokenizer(
        models.WordPiece(vocabulary, unk_token="<unk>", continuing_subword_prefix=INNER)
    )
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.WordPiece(prefix=INNER, cleanup=False)
    return _finished(backend, params, first)


def _counted(words: Counter[str]) -> Iterator[list[str]]:
    """Yield every word, sorted, as often as it came, at most `AT_ONCE` of them in one text."""
    for word, count in sorted(words.items()):
        full, rest = divmod(count, AT_ONCE)
        if full:
            yield [" ".join([word] * AT_ONCE)] * full
        if rest:
            yield [" ".join([word] * rest)]


def _word_splitter(params: TokenizerParams) -> pre_tokenizers.PreTokenizer:
    bert = pre_tokenizers.BertPreTokenizer()
    cut = digits(params)
    return pre_tokenizers.Sequence([bert, cut]) if cut else bert


def unigram(params: TokenizerParams, first: list[AddedToken], texts: Texts) -> Tokenizer:
    """Learn a Unigram model with SentencePiece; unknown letters become bytes."""
    import sentencepiece

    plain = [token.content for token in first]
    cut = digits(params)
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts, cut),
            model_writer=written,
            model_type="unigram",
            vocab_size=params.vocab_size - len(plain) + 1,  # its own unknown piece is not taken
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            pretokenization_delimiter=EDGE if cut else "",
            byte_fallback=True,
            required_chars=_required([token.content for token in first if token.special]),
            max_sentence_length=LONGEST_LINE_BYTES,
            num_threads=params.threads,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            minloglevel=3,
        )
    except (RuntimeError, OSError) as error:
        raise _told(error, params) from None
    learned = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    pieces = [(token, NEVER) for token in plain]
    for number in range(1, learned.get_piece_size()):
        name = learned.id_to_piece(number)
        score = NEVER if learned.is_byte(number) else learned.get_score(number)
        pieces.append((name, score))
    names = [name for name, _ in pieces]
    _apart(first, names[len(plain) :])
    # Asked for while cutting, never given: what is unknown becomes the bytes it is made of.
    unknown = names.index("<unk>" if "<unk>" in plain else "<0x00>")
    backend = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=True))
    spaces = pre_tokenizers.Split(SPACE, "merged_with_next")
    backend.pre_tokenizer = pre_tokenizers.Sequence([spaces, cut]) if cut else spaces
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    _finished(backend, params, first)
    replaced = normalizers.Replace(" ", SPACE)
    steps = backend.normalizer
    backend.normalizer = normalizers.Sequence([steps, replaced]) if steps else replaced
    return backend


def _apart(first: list[AddedToken], learned: Iterable[str]) -> None:
    """Refuse a domain token that normalised text spells as well: one token would stand for both."""
    domain = {token.content for token in first if not token.special}
    both = sorted(domain.intersection(learned))
    if both:
        raise CheckFailed(
            f"the domain token {both[0]!r} is also what other text is normalised to",
            "tokenizer: domain_tokens",
            "take it away (it is learned from the text), or the step of `normalise` that makes it",
        )


def _lines(texts: Texts, cut: pre_tokenizers.PreTokenizer | None) -> Iterator[str]:
    """Yield the lines of texts, with an edge wherever `cut` ends a piece."""
    for batch in texts:
        for text in batch:
            for line in text.split("\n"):
                if not line.strip() or "\0" in line:
                    continue
                if cut is None:
                    yield line
                elif EDGE not in line:
                    yield EDGE.join(piece for piece, _ in cut.pre_tokenize_str(line))


def _required(specials: list[str]) -> str:
    """Return the letters that special tokens and bytes are spelled with.

    Were one of them unknown, a text that spells `<mask>` could be cut into the token itself.
    """
    spelled = "".join([*specials, "<0x0123456789ABCDEF>"])
    return "".join(sorted(set(spelled)))


def _told(error: Exception, params: TokenizerParams) -> CheckFailed:
    """Return what SentencePiece refused as an error of the entry."""
    text = " ".join(str(error).split())
    most = re.search(r"<= (\d+)", text)
    advice = f"set it to {int(most[1]) + 4} or less" if most else "set it lower or higher"
    return CheckFailed(
        f"vocab_size {params.vocab_size} does not suit this corpus: {text[-160:]}",
        "tokenizer: vocab_size",
        f"{advice}, or give the corpus more text",
    )


def _unknown(params: TokenizerParams) -> str | None:
    return None if params.objective == "causal" else "<unk>"


ALGORITHMS: dict[str, Learn] = {"wordpiece": wordpiece, "unigram": unigram}
"""Those that learn from texts; `bpe` learns from counted words."""
