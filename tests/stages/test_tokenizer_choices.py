"""Normalising, digits, domain tokens and bytes: equal in AutoTokenizer, refused where they lie."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from stages.core import canonical
from stages.core.errors import CheckFailed, DevenoError, ParamsError
from stages.core.log import Log
from stages.lm import corpora, encoders, tables, tokenizers
from stages.lm.kernels.text import of_strings
from stages.tokenizer import languages, quality, report
from stages.tokenizer.domain import Cutter
from stages.tokenizer.preparation import Preparation
from stages.tokenizer.stage import TokenizerParams, tokenizer
from tests.lm.kernels import hostile


def encodable(seed, count):
    """Hostile strings without lone surrogates, which `tokenizers` takes for no text."""
    return [one.encode("utf-8", "ignore").decode("utf-8") for one in hostile.strings(seed, count)]


CHAT = ["<|user|>", "<|end|>", "    ", "\n\n", "ĉu ne"]
TEXTS = [
    "La suno brilas, kaj 1234567 hundoj kuras. Ĉu ne?  Jes: 3,14 \u00bd \u0663\u0664\u0665\u0666",
    "<|user|>\nKiom estas 12+345?<|end|>\n    return x\n        pass\n\nĉu ne",
    "ÉCOLE éco\u0301le ﬁn ﬀ Ａ１２ straße İstanbul \u1e9b\u0323 \u0958\u093f \ud55c\uad6d\uc5b4",
    " \t x\u00a0\u2003y\r\n\u200b z ",
    "",
    "<mask> <s>x</s> <pad> [MASK][CLS] <|endoftext|> <|USER|>",
    *encodable(5, 60),
]
CHOICES = {
    "plain": {},
    "nfkc": {"normalise": [{"kind": "nfkc"}, {"kind": "lowercase"}]},
    "nfd": {"normalise": [{"kind": "nfd"}], "split_digits": True},
    "accents": {"normalise": [{"kind": "strip-accents"}, {"kind": "white-space", "ends": "both"}]},
    "groups": {"split_digits": True, "digit_group": 3},
    "domain": {"domain_tokens": CHAT, "split_digits": True},
    "all": {
        "normalise": [
            {"kind": "nfc"},
            {"kind": "lowercase"},
            {"kind": "replace", "pattern": "``", "by": '"'},
            {"kind": "replace", "pattern": r"(?<=\d),(?=\d)", "by": ".", "expression": True},
            {"kind": "white-space", "runs": "collapse-blanks"},
        ],
        "split_digits": True,
        "digit_group": 2,
        "domain_tokens": CHAT,
    },
}
SMALL = {"bpe": 266, "wordpiece": 257, "unigram": 295}
VOCABULARY = {"bpe": 330, "wordpiece": 900, "unigram": 640}


def sentences(count):
    source = np.random.Generator(np.random.PCG64(count))
    words = ["la", "suno", "Brilas", "ĉiuj", "hundoj", "12345", "678", "École", "ﬁn", "x,", "<s>"]
    words += ["".join(source.choice(list("aĉdegiklnoprŝtu"), 7)) for _ in range(80)]
    return [" ".join(source.choice(words, 20)) + f" {number}" for number in range(count)]


def write_corpus(folder, texts, held=None):
    splits = {}
    for split, given in (("train", texts), ("test", held if held is not None else texts[:8])):
        with tables.ShardWriter(folder, split, tables.TEXT_SCHEMA) as writer:
            for number, text in enumerate(given):
                writer.add({"id": f"{split}-{number}", "source": "test", "text": text})
        splits[split] = {
            "documents": len(given),
            "bytes": sum(len(text.encode("utf-8")) for text in given),
        }
    canonical.write_json(folder / "corpus.json", {"kind": "text", "splits": splits})
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    letters = [chr(one) for one in range(0x20, 0x180)]
    texts = sentences(300) + [text for text in TEXTS[:3] for _ in range(4)] + ["".join(letters)] * 2
    return write_corpus(tmp_path_factory.mktemp("corpora") / "eo", texts)


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    """As many random strings as these many tokenizers need; `test_tokenizer` measures on all."""
    monkeypatch.setattr(report, "RANDOM_STRINGS", 400)


def params_of(algorithm, **options):
    size = VOCABULARY.get(algorithm, 262 + len(options.get("domain_tokens", ())))
    return TokenizerParams(
        **{"corpus": "eo", "algorithm": algorithm, "vocab_size": size, "min_frequency": 1} | options
    )


def make(params, corpus, out):
    log = Log()
    tokenizer(params=params, corpus=corpus, reference=out.parent, tokenizer=out, log=log)
    return log


def by_auto(folder, texts):
    from transformers import AutoTokenizer

    opened = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return opened, [
        opened(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        for text in texts
    ]


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram", "bytes"])
def test_encode_and_the_auto_class_agree_whatever_is_chosen(corpus, tmp_path, algorithm):
    """For every choice, and what is decoded is the normalised text wherever bytes are kept."""
    for name, options in CHOICES.items():
        params = params_of(algorithm, **options)
        make(params, corpus, tmp_path / name)
        opened, wanted = by_auto(tmp_path / name, TEXTS)
        encoder = encoders.Encoder(tokenizers.load(tmp_path / name))
        found = encoder.encode(of_strings(TEXTS))
        ours = [
            found.ids[a:b].tolist() for a, b in zip(found.firsts, found.firsts[1:], strict=False)
        ]
        assert ours == wanted, name
        assert found.characters.tolist() == list(map(len, TEXTS))
        preparation = Preparation(params)
        if algorithm in ("bpe", "bytes"):
            for text, ids in zip(TEXTS, wanted, strict=True):
                assert opened.decode(ids) == preparation.decoded(text), name
        special = set(range(len(params.specials()))) - {opened.unk_token_id}
        assert not any(special.intersection(ids) for ids in wanted), name
        told = json.loads((tmp_path / name / "report.json").read_text())
        assert told["round_trip"]["changed_by_normalising"] > 0 or not params.normalise
        kinds = ("special", "domain", "partial", "inner", "reachable", "unreachable")
        held = sum(told["tokens_by_kind"][kind] for kind in kinds)
        assert held == told["vocabulary_tokens"] == len(opened)


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram", "bytes"])
def test_domain_tokens_stay_whole_and_digits_apart(corpus, tmp_path, algorithm):
    make(params_of(algorithm, **CHOICES["all"]), corpus, tmp_path / "t")
    opened, (ids,) = by_auto(tmp_path / "t", ["<|user|>    12345<|end|>ĉu ne\n\n<|USER|>"])
    whole = [opened.convert_tokens_to_ids(token) for token in CHAT]
    assert [one for one in ids if one in whole] == [whole[one] for one in (0, 2, 1, 4, 3)]
    if algorithm != "bytes":
        assert whole == list(range(5, 10))
        pieces = [opened.decode([one]).strip().removeprefix("##") for one in ids]
        numbers = [one for one in pieces if any(sign.isdigit() for sign in one)]
        assert "".join(numbers) == "12345"
        ends = np.cumsum(list(map(len, numbers))).tolist()
        assert {2, 4} <= set(ends), "no token crosses the bounds of groups of two"


def test_bytes_are_perceivers(corpus, tmp_path):
    """Section 045: 262 ids, those of transformers' own class, with its special tokens."""
    from transformers import PerceiverTokenizer

    make(params_of("bytes"), corpus, tmp_path / "t")
    theirs = PerceiverTokenizer()
    opened, _ = by_auto(tmp_path / "t", [])
    assert len(opened) == len(theirs) == 262
    assert opened.model_max_length == theirs.model_max_length == 2048
    for role in ("pad", "bos", "eos", "mask", "cls", "sep"):
        assert getattr(opened, f"{role}_token_id") == getattr(theirs, f"{role}_token_id"), role
    for text in ("La suno brilas.", "\x00é漢👩", "", *encodable(3, 40)):
        # Theirs takes special tokens out of text, ours does not.
        if "[" not in text:
            assert opened(text)["input_ids"] == theirs(text)["input_ids"], text
    pair = opened("ab", "c")["input_ids"]
    assert pair == theirs("ab", "c")["input_ids"]
    special = tokenizers.special(tmp_path / "t", tokenizers.load(tmp_path / "t"))
    assert (special.begin, special.end, special.pad, special.mask) == (4, 5, 0, 3)
    make(params_of("bytes", objective="causal"), corpus, tmp_path / "c")
    special = tokenizers.special(tmp_path / "c", tokenizers.load(tmp_path / "c"))
    assert (special.begin, special.end, special.pad, special.mask) == (1, 2, 0, None)
    opened, _ = by_auto(tmp_path / "c", [])
    assert opened("ab")["input_ids"] == [1, 6 + 97, 6 + 98]
    # Nothing is learned: the same file from another corpus.
    other = write_corpus(tmp_path / "other", ["x"])
    make(params_of("bytes"), other, tmp_path / "o")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "o" / name).read_bytes() == (tmp_path / "t" / name).read_bytes()


SCRIPT = """
import json, sys
from pathlib import Path
from stages.core.log import Log
from stages.tokenizer import report
from stages.tokenizer.stage import TokenizerParams, tokenizer
report.RANDOM_STRINGS = 400
given, corpus, made = sys.argv[1:]
for number, options in enumerate(json.loads(given)):
    out = Path(made) / str(number)
    tokenizer(TokenizerParams(**options), Path(corpus), Path(made), out, Log())
"""


def test_all_processes_write_one_file(corpus, tmp_path, root):
    """Hash seeds, the library's threads and ours, and the order of texts change no byte.

    (Of Unigram's sums each thread has its own.)
    """
    texts = [text for _, text in corpora.documents(corpus, "train")]
    turned = write_corpus(tmp_path / "turned", texts[::-1], held=texts[:8])
    found = set()
    for number in range(2):
        given = [
            params_of(one, **CHOICES["all"]).model_dump()
            | {"threads": 1 if one == "unigram" else 1 + 2 * number}
            for one in ("bpe", "wordpiece", "unigram", "bytes")
        ]
        environment = os.environ | {
            "PYTHONHASHSEED": str(number),
            "PYTHONPATH": str(root),
            "TOKENIZERS_PARALLELISM": ("false", "true")[number],
        }
        out = tmp_path / str(number)
        arguments = [
            sys.executable,
            "-c",
            SCRIPT,
            json.dumps(given),
            str((corpus, turned)[number]),
            str(out),
        ]
        subprocess.run(arguments, check=True, env=environment, cwd=tmp_path)
        files = sorted(path for path in out.rglob("*") if path.is_file())
        found.add(tuple((str(path.relative_to(out)), path.read_bytes()) for path in files))
    assert len(found) == 1
    assert len(next(iter(found))) > 12


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"domain_tokens": [""]}, "the domain token '' is empty"),
        ({"domain_tokens": ["<x>", "<y>", "<x>"]}, "twice, as number 1 and 3"),
        ({"domain_tokens": ["<mask>"]}, "'<mask>' is a special token"),
        ({"domain_tokens": ["<|endoftext|>"]}, "is a special token"),
        ({"domain_tokens": ["a"]}, "is in the alphabet of bytes"),
        ({"domain_tokens": ["für"]}, "decoded as those"),
        ({"domain_tokens": ["a\ud800"]}, "surrogate"),
        ({"algorithm": "unigram", "domain_tokens": ["a\u2581b"]}, "spells a space"),
        ({"algorithm": "unigram", "domain_tokens": ["<0x0A>"]}, "or a byte"),
        ({"algorithm": "wordpiece", "domain_tokens": ["##x"]}, "inside of a word"),
        ({"vocab_size": 260}, "vocab_size 260 is smaller than what algorithm 'bpe' has"),
        ({"vocab_size": 262, "domain_tokens": ["<x>", "<y>"]}, "2 domain tokens and 256 bytes"),
        ({"algorithm": "unigram", "vocab_size": 260}, "smaller than what algorithm 'unigram'"),
        ({"algorithm": "bytes", "vocab_size": 4000}, "is not what algorithm 'bytes' has"),
        ({"digit_group": 3}, "split_digits is false"),
    ],
)
def test_what_cannot_be_is_refused_in_three_lines(options, told):
    with pytest.raises(ParamsError, match=told) as refused:
        TokenizerParams(corpus="eo", **options)
    assert len(refused.value.lines()) == 3
    assert refused.value.where.startswith("tokenizer: ")


@pytest.mark.parametrize(
    ("texts", "options", "told"),
    [
        (["ABC"] * 9, {"normalise": [{"kind": "replace", "pattern": ".", "by": "",
                                      "expression": True}]}, "nothing is left"),
        (["<x>"] * 9, {"domain_tokens": ["<x>"]}, "nothing is left"),
        (["a(b"] * 9, {"normalise": [{"kind": "replace", "pattern": "(", "by": "",
                                      "expression": True}]}, "'\\(' is no regular expression"),
        (["HELLO"] * 9, {"normalise": [{"kind": "lowercase"}], "domain_tokens": ["hello"]},
         "'hello' is also what other text is normalised to"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram"])
def test_a_corpus_that_leaves_nothing_is_refused(tmp_path, texts, options, told, algorithm):
    folder = write_corpus(tmp_path / "c", texts)
    params = params_of(algorithm, **({"vocab_size": SMALL[algorithm]} | options))
    with pytest.raises(DevenoError, match=told) as refused:
        make(params, folder, tmp_path / "t")
    assert len(refused.value.lines()) == 3
    assert not (tmp_path / "t").exists()


def test_a_vocabulary_smaller_than_the_alphabet_says_how_large_it_is(tmp_path):
    texts = ["".join(map(chr, range(0x4E00, 0x4F00))) + f" {n}" for n in range(5)]
    folder = write_corpus(tmp_path / "c", texts)
    with pytest.raises(CheckFailed, match="vocab_size 270 is smaller than the alphabet") as caught:
        make(params_of("wordpiece", vocab_size=270), folder, tmp_path / "t")
    least = int(caught.value.todo.split()[3])
    make(params_of("wordpiece", vocab_size=least), folder, tmp_path / "t")
    with pytest.raises(CheckFailed, match="vocab_size 270 does not suit"):
        make(params_of("unigram", vocab_size=270), folder, tmp_path / "u")


def test_held_out_text_that_vanishes_is_refused(tmp_path):
    """Planted: the training split has letters, the held-out one has only what is taken away."""
    folder = write_corpus(tmp_path / "c", sentences(50), held=["12 34", "5"])
    step = {"kind": "replace", "pattern": r"[\d ]", "by": "", "expression": True}
    with pytest.raises(CheckFailed, match="all 2 held-out texts are empty after"):
        make(params_of("bpe", normalise=[step], vocab_size=270), folder, tmp_path / "t")


def test_tokens_that_no_text_becomes_are_counted(corpus, tmp_path):
    """Teeth: one planted token, and a special token that text can be cut into."""
    params = params_of("bpe")
    make(params, corpus, tmp_path / "t")
    state = json.loads((tmp_path / "t" / "tokenizer.json").read_text())
    backend = tokenizers.load(tmp_path / "t")
    before = quality.kinds(backend, params, set())
    assert before["unreachable"] == 0
    from tokenizers import Tokenizer

    state["model"]["vocab"]["Ġqzqzqz"] = len(state["model"]["vocab"])
    planted = Tokenizer.from_str(json.dumps(state))
    planted.encode_special_tokens = True
    found = quality.kinds(planted, params, set())
    assert found["unreachable_first"] == ["Ġqzqzqz"]
    assert found["unused"] == before["unused"] + 1
    planted.encode_special_tokens = False
    with pytest.raises(CheckFailed, match="becomes the special token '<s>'"):
        quality.special_from_text(planted, params, report.random_strings(10))


def test_languages_have_rows_of_their_own(corpus, tmp_path):
    """Counted again by hand: by source, and both sides of a parallel reference with parity."""
    folder = tmp_path / "pairs"
    pairs = [("the sun shines brightly 12", "la suno Brilas"), ("dogs", "ĉiuj hundoj")]
    with tables.ShardWriter(folder, "test", tables.PARALLEL_SCHEMA) as writer:
        for number, (one, other) in enumerate(pairs):
            writer.add({"id": str(number), "source": "t", "source_text": one, "target_text": other})
    splits = {"train": {"documents": 2, "bytes": 30}, "test": {"documents": 2, "bytes": 30}}
    canonical.write_json(folder / "corpus.json", {"kind": "parallel", "splits": splits})
    params = params_of("bytes", reference="corpora/pairs")
    tokenizer(params, corpus, folder, tmp_path / "t", Log())
    told = json.loads((tmp_path / "t" / "report.json").read_text())["languages"]
    assert [row["name"] for row in told] == [
        "test",
        "corpora/pairs:source",
        "corpora/pairs:target",
    ]
    sizes = [sum(len(pair[side].encode()) for pair in pairs) for side in (0, 1)]
    assert [row["tokens"] for row in told[1:]] == sizes
    assert told[1]["parity"] == sizes[0] / sizes[1] == 1 / told[2]["parity"]
    assert told[2]["tokens_per_word"] == sizes[1] / 5
    assert told[1]["words"] == 6
    assert told[0]["parity"] is None


def test_rows_of_many_sources_end_in_one_of_all_others():
    groups = {f"s{number:02}": languages.Group() for number in range(30)}
    for number, group in enumerate(groups.values()):
        group.add("ab " * (number + 1), [1] * (number + 1), 1)
    rows = languages.of_groups(groups)
    assert len(rows) == languages.MOST_GROUPS + 1
    assert (rows[0]["name"], rows[-1]["name"]) == ("s29", "others")
    assert sum(row["tokens"] for row in rows) == 30 * 31 // 2
    assert rows[-1]["tokens"] == 21
    assert rows[0]["unknown_fraction"] == 1


def test_texts_are_cut_where_the_library_cuts_them(corpus, tmp_path):
    """Domain tokens inside each other and inside special tokens, in every order of letters."""
    domain = ["aa", "aaa", "ab a", "mask", "k>", " <ma", "ĉ ", "\n\n", "(.*)"]
    params = params_of("bytes", domain_tokens=domain, vocab_size=262 + len(domain))
    make(params, corpus, tmp_path / "t")
    backend = tokenizers.load(tmp_path / "t")
    source = np.random.Generator(np.random.PCG64(3))
    parts = [*domain, "a", "b", " ", "<mask>", "[MASK]", "[CLS]", "ĉ", "\n", "<"]
    texts = ["".join(source.choice(parts, 8)) for _ in range(300)]
    cutter = Cutter(params.domain_tokens, params.specials())
    cut = 0
    for text, ids in zip(texts, tokenizers.encode_texts(backend, texts), strict=True):
        tokens = [backend.id_to_token(number) for number in ids]
        assert [one for one in tokens if one in domain] == cutter.cut(text)[1::2], text
        cut += len(cutter.cut(text)) // 2
    assert cut > 600
