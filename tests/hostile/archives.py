"""Hostile archives by name: members that lead elsewhere, lie about themselves or are none."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

from tests.hostile.case import LONG, SAYS, FileCase, refused


def _zipped(members: dict[str, bytes], **info: Any) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        warnings.simplefilter("ignore")
        for name, data in members.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            for key, value in info.items():
                setattr(entry, key, value)
            bundle.writestr(entry, data)
    return out.getvalue()


def _tarred(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"a\n", times: int = 1
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for _ in range(times):
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(data), "/etc/passwd"
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def _patched(data: bytes, signature: bytes, at: int, value: bytes) -> bytes:
    """Return a zip archive with some bytes of its first header of a kind replaced."""
    start = data.index(signature) + at
    return data[:start] + value + data[start + len(value) :]


def archives() -> Iterator[FileCase]:
    """Members that lead elsewhere, lie about themselves or are none."""
    every: dict[str, Any] = {"unpack": ["*"]}
    whole = _zipped({"a.txt": SAYS.encode(), "b/c.txt": LONG.encode()})
    yield FileCase("zip_whole", {"x.zip": whole},
                   [("x/a.txt", SAYS), ("x/b/c.txt", LONG)], source=every)  # fmt: skip
    both = {b"PK\x03\x04": 0, b"PK\x01\x02": 2}
    locked, unknown = whole, whole
    for signature, more in both.items():
        locked = _patched(locked, signature, 6 + more, b"\x01\x00")
        unknown = _patched(unknown, signature, 8 + more, b"\x63\x00")
    lying = _patched(whole, b"PK\x01\x02", 24, struct.pack("<I", 3))
    for name, data, told in (
        ("zip_cut", whole[:-30], "is damaged"), ("zip_empty", b"", "is damaged"),
        ("zip_text", b"no archive", "is damaged"), ("zip_locked", locked, "cannot be unpacked"),
        ("zip_unknown_method", unknown, "cannot be unpacked"),
        ("zip_lying_size", lying, "is damaged"),
        ("zip_damaged", whole[:45] + b"\xff\xff\xff" + whole[48:], "is damaged"),
        ("zip_up", _zipped({"../a.txt": b"a"}), "leads outside"),
        ("zip_root", _zipped({"/etc/a.txt": b"a"}), "leads outside"),
        ("zip_drive", _zipped({"C:\\a.txt": b"a"}), "leads outside"),
        ("zip_link", _zipped({"a.txt": b"/etc/passwd"}, external_attr=0xA1FF << 16), "a link"),
        ("zip_without_members", _zipped({}), "no member"),
        ("zip_nested", _zipped({"y.zip": whole}), "does not tell its format"),
        ("zip_file_and_folder", _zipped({"a": b"a", "a/b.txt": b"b"}), "a member twice"),
        ("zip_long_name", _zipped({"a" * 300 + ".txt": b"a"}), "no path leads there"),
    ):  # fmt: skip
        yield refused(name, "x.zip", data, told, **every)
    tar = _tarred("a.txt", data=LONG.encode())
    yield FileCase("tar_whole", {"x.tar": tar}, [("x/a.txt", LONG)], source=every)
    yield FileCase("tar_gz_whole", {"x.tgz": gzip.compress(tar)}, [("x/a.txt", LONG)], source=every)
    for name, file, data, told in (
        ("tar_cut", "x.tar", tar[:700], "is damaged"),
        ("tar_gz_cut", "x.tgz", gzip.compress(tar)[:-40], "is damaged"),
        ("tar_bz2_cut", "x.tar.bz2", bz2.compress(tar)[:-9], "is damaged"),
        ("tar_xz_damaged", "x.tar.xz", lzma.compress(tar)[:-40] + b"\0" * 40, "is damaged"),
        ("tar_text", "x.tar", b"no archive" * 99, "is damaged"),
        ("tar_up", "x.tar", _tarred("../a.txt"), "leads outside"),
        ("tar_root", "x.tar", _tarred("/a.txt"), "leads outside"),
        ("tar_link", "x.tar", _tarred("a.txt", tarfile.SYMTYPE, b""), "a link or a device"),
        ("tar_hard_link", "x.tar", _tarred("a.txt", tarfile.LNKTYPE, b""), "a link or a device"),
        ("tar_device", "x.tar", _tarred("a.txt", tarfile.CHRTYPE, b""), "a link or a device"),
        ("tar_pipe", "x.tar", _tarred("a.txt", tarfile.FIFOTYPE, b""), "a link or a device"),
        ("tar_twice", "x.tar", _tarred("a.txt", times=2), "a member twice"),
        ("tar_joined", "x.tar", tar + _tarred("b.txt"), "more behind its end"),
        ("tar_without_end", "x.tar", tar[: 512 + -(-len(LONG.encode()) // 512) * 512], "end mark"),
    ):
        yield refused(name, file, data, told, **every)
