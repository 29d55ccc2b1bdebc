"""The three ways to learn a vocabulary, each with the same bytes out in every process.

Byte-level BPE is ours (`stages.lm.kernels.merges`), token for token what `tokenizers`' own trainer
learns, and deterministic as that is. The library's WordPiece trainer numbers the inner pieces
(`##a`) in the order of a hash map, and ties between pairs are broken by these numbers: here the
whole alphabet is counted first and handed over sorted, as tokens that are there already, so that
nothing is left to the map (tokenizers issues 1794, 2066). Its Unigram trainer sums floats in the
order of such a map in several threads, which cannot be mended from outside: SentencePiece does that
work, each thread its own share in a fixed order, and the pieces with their scores become a Unigram
model of `tokenizers`.
"""

from __future__ import annotations

import io
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
from stages.tokenizer.stage import TokenizerParams

INNER = "##"
"""What a piece inside a word begins with (BERT)."""
SPACE = "\u2581"
"""What stands for a space (SentencePiece)."""
NEVER = -1.0e6
"""Score of tokens that no text may be cut into: special tokens, and bytes as they are spelled."""
LONGEST_LINE_BYTES = 1 << 20
AT_ONCE = 4096

Texts = Iterable[list[str]]
Learn = Callable[[TokenizerParams, list[AddedToken], Texts], Tokenizer]


def learn(params: TokenizerParams, specials: list[AddedToken], texts: Texts) -> Tokenizer:
    """Learn a vocabulary of at most `vocab_size` tokens from batches of texts."""
    return ALGORITHMS[params.algorithm](params, specials, texts)


def bpe(params: TokenizerParams, specials: list[AddedToken], words: Words) -> Tokenizer:
    """Learn byte-level BPE (GPT-2) from counted words, token for token as `tokenizers` does."""
    plain = [token.content for token in specials]
    model = bytelevel.learned_model(
        words, plain, params.vocab_size, params.min_frequency, _unknown(params)
    )
    backend = Tokenizer(model)
    backend.pre_tokenizer = bytelevel.splitter(params.split_digits)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(specials)
    return backend


def wordpiece(params: TokenizerParams, specials: list[AddedToken], texts: Texts) -> Tokenizer:
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
    plain = [token.content for token in specials]
    trainer = trainers.WordPieceTrainer(
        vocab_size=params.vocab_size,
        min_frequency=params.min_frequency,
        show_progress=False,
        special_tokens=[*plain, *letters, *inner],
        continuing_subword_prefix=INNER,
    )
    learner = Tokenizer(models.WordPiece(unk_token="<unk>"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # In sorted order and each as often as it came: the trainer sees the same words in any process.
    learner.train_from_iterator(_counted(words), trainer)
    backend = Tokenizer(
        models.WordPiece(learner.get_vocab(), unk_token="<unk>", continuing_subword_prefix=INNER)
    )
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.WordPiece(prefix=INNER, cleanup=False)
    backend.add_special_tokens(specials)
    return backend


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
    if not params.split_digits:
        return bert
    return pre_tokenizers.Sequence([bert, pre_tokenizers.Digits(individual_digits=True)])


def unigram(params: TokenizerParams, specials: list[AddedToken], texts: Texts) -> Tokenizer:
    """Learn a Unigram model with SentencePiece; unknown letters become bytes."""
    import sentencepiece

    plain = [token.content for token in specials]
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts),
            model_writer=written,
            model_type="unigram",
            vocab_size=params.vocab_size - len(plain) + 1,  # its own unknown piece is not taken
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_digits=params.split_digits,
            byte_fallback=True,
            required_chars=_required(plain),
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
    # Asked for while cutting, never given: what is unknown becomes the bytes it is made of.
    names = [name for name, _ in pieces]
    unknown = names.index("<unk>" if "<unk>" in plain else "<0x00>")
    backend = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", SPACE)
    backend.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens(specials)
    return backend


def _lines(texts: Texts) -> Iterator[str]:
    for batch in texts:
        for text in batch:
            for line in text.split("\n"):
                if line.strip() and "\0" not in line:
                    yield line


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
