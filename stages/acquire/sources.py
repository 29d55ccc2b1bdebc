"""The kinds of source that raw material may come from, and what each must say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from stages.acquire.formats import Format
from stages.core.declare import Params
from stages.lm.reading import Reading


class ReadingRule(Reading):
    """How the files of one pattern are read; the first rule that matches a file counts."""

    pattern: str
    """Glob, relative to the source's root (`**/*.crp.txt.bz2`)."""


class ParallelRule(Params):
    """Files whose lines translate each other; both globs must find equally many files."""

    source: str
    """Glob of the source sides (`**/*.eng.gz`), taken in the order of their names."""
    target: str
    """Glob of the target sides (`**/*.epo.gz`), taken in the order of their names."""


class LinkRule(Params):
    """A Tatoeba links file and the two sentence files whose translations it joins."""

    links: str
    """Path of the links (`per_language/epo/epo-eng_links.tsv.bz2`)."""
    source: str
    """Path of the source language's sentences."""
    target: str
    """Path of the target language's sentences."""


class Tangible(Params):
    """What sources made of files share: how the files are read."""

    reading: Reading = Reading()
    """How files are read that no rule matches."""
    rules: list[ReadingRule] = []
    """Readings of some files, by pattern."""
    parallel: list[ParallelRule] = []
    """Files that are the two sides of a translation."""
    links: list[LinkRule] = []
    """Tatoeba links to join."""
    unpack: list[str] = []
    """Globs of members to take out of tar and zip archives; empty keeps archives as they are."""


class FilesSource(Tangible):
    """Files of this machine: from the entry's `folder`, or from a root outside the repository."""

    kind: Literal["files"] = "files"
    """Discriminator."""
    root: str | None = None
    """Where to look: null is the entry's `folder`; `python` is the standard library of the running
    interpreter; else an absolute path or one that begins with `~/`."""
    patterns: list[str] = ["**/*"]
    """Globs relative to the root; hidden files never count."""
    exclude: list[str] = ["**/README*", "**/LICEN[CS]E*", "**/MANIFEST*"]
    """Globs to leave out."""
    pack: bool = False
    """Whether texts go into few shards of JSON lines instead of one file each."""
    max_files: int = Field(2000, ge=1)
    """Refuse more files than this; `pack` them instead."""
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    """Digest that the whole content must have (the manifest's `content_sha256`); null takes any."""


class UrlFile(Params):
    """One file of a web source."""

    path: str
    """Path below the base address, or a full address."""
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    """Digest that the file must have; null records what comes in the manifest."""
    name: str | None = None
    """Path to keep the file under; null keeps its path in the address."""


class UrlSource(Tangible):
    """Files fetched over HTTP, resumable and checked."""

    kind: Literal["url"] = "url"
    """Discriminator."""
    base: str = ""
    """Address that the paths are relative to, such as `https://downloads.tatoeba.org/exports/`."""
    files: list[UrlFile] = []
    """What to fetch, in order."""
    hosts: list[str] = []
    """Further hosts (`name` or `name:port`) that a redirect may lead to."""
    max_bytes: int = Field(20_000_000_000, ge=1)
    """Refuse a file that is larger, in bytes."""
    attempts: int = Field(6, ge=1)
    """Tries in a row that may bring nothing before giving up."""
    backoff_seconds: float = Field(1.0, ge=0)
    """Wait before the second try, in seconds; it doubles up to a minute."""
    timeout_seconds: float = Field(60.0, gt=0)
    """How long a server may be silent, in seconds."""


class ExtractSource(Params):
    """Records taken out of containers: archives, dumps, exports, catalogues, source code.

    What is not kept stands in `losses/` with its reason, and a killed run goes on where it was.
    """

    kind: Literal["extract"] = "extract"
    """Discriminator."""
    reader: Format
    """What the files are, and how they are read."""
    root: str | None = None
    """Where to look: null is the entry's `folder`; `python`, `site-packages` and `locale` are the
    standard library, the installed packages and the message catalogues of this machine; else an
    absolute path or one that begins with `~/`."""
    patterns: list[str] = ["**/*"]
    """Globs relative to the root; hidden files never count."""
    exclude: list[str] = ["**/README*", "**/LICEN[CS]E*", "**/MANIFEST*"]
    """Globs to leave out."""
    addresses: UrlSource | None = None
    """Files to fetch first, instead of such that are there; resumable and checked."""
    sha256: dict[str, str] = {}
    """Digests that files must have, by their path below the root."""
    damage: Literal["lose", "refuse"] = "lose"
    """What to do where a container ends early or breaks: keep what came before, with a loss that
    says what is missing, or stop."""
    max_files: int = Field(200_000, ge=1)
    """Refuse more files than this."""
    max_record_bytes: int = Field(64 << 20, ge=1)
    """Larger records are lost as `too_long`; no more than some such are in memory."""
    max_ratio: int = Field(300, ge=1)
    """Bytes that one packed byte may become; where more come out, the rest is lost as `bomb`."""

    @field_validator("sha256")
    @classmethod
    def _digests(cls, value: dict[str, str]) -> dict[str, str]:
        for name, found in value.items():
            if len(found) != 64 or set(found) - set("0123456789abcdef"):
                raise ValueError(f"the digest of {name} is no SHA-256 of 64 hex digits: {found!r}")
        return value

    def files(self) -> FilesSource:
        """Return the source of files as they are that has the same files."""
        return FilesSource(
            root=self.root,
            patterns=self.patterns,
            exclude=self.exclude,
            max_files=self.max_files,
        )


class SqlSource(Params):
    """Rows that one SELECT gives over files of the entry's `folder`, streamed as Arrow batches."""

    kind: Literal["sql"] = "sql"
    """Discriminator."""
    query: str = "SELECT * FROM rows"
    """One SELECT in DuckDB's SQL. Each Parquet, CSV, JSON (lines) or Arrow file is a table by its
    name without suffix, and shards `name-00000.parquet` are one; or `read_parquet('part-*')`."""
    reading: Reading = Reading()
    """Which columns hold what; the format is Parquet."""
    batch_rows: int = Field(8192, ge=1)
    """Rows of an Arrow batch."""


class HubSource(Params):
    """A data set in the layout of the Hugging Face hub, streamed at a fixed revision."""

    kind: Literal["hub"] = "hub"
    """Discriminator."""
    repo: str | None = None
    """Repository (`owner/name`); null reads the entry's `folder`, laid out like a repository."""
    revision: str | None = None
    """Commit of the repository, 40 hex digits."""
    moving_revision: bool = False
    """Whether a branch or tag may stand for a commit; what comes may then differ tomorrow."""
    config: str | None = None
    """Configuration of the data set (often a language)."""
    splits: list[str] = ["train"]
    """Splits to take."""
    columns: list[str] = []
    """Columns to keep; empty keeps all."""
    max_rows: int | None = Field(None, ge=1)
    """Rows to take of each split at most."""
    reading: Reading = Reading(format="jsonl")
    """How rows become records (`text`, `tokens`, `tags`, `translation.eo`, ...)."""
