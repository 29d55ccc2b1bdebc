"""LevelDB's sorted table, read and written: what the `.index` of a TensorFlow checkpoint is.

    data block ... | metaindex block | index block | footer (48 bytes)
    block   = entries, restart offsets (u32 each), their number (u32); then a byte of compression
              (0: none) and the masked CRC-32C of both (u32)
    entry   = varints: bytes shared with the key before, bytes of the rest, bytes of the value;
              then the rest of the key and the value
    footer  = handles (offset and size, varints) of metaindex and index, zeros, the magic number

Keys are in order, and one in sixteen stands whole. (leveldb/doc/table_format.md.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from stages.lm.tensors.crc32c import crc32c, masked

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
TRAILER_BYTES = 5
RESTART_INTERVAL = 16
BLOCK_BYTES = 256 << 10
"""TensorFlow's own block size: a table this small is what its readers expect."""


class Fault(ValueError):
    """What is wrong with a table."""


def read(data: bytes) -> dict[bytes, bytes]:
    """Return the entries of a table; raises Fault on damage."""
    if len(data) < FOOTER_BYTES or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise Fault(f"it does not end with the magic number of a table ({len(data)} bytes)")
    at = len(data) - FOOTER_BYTES
    metaindex, at = _handle(data, at)
    index, _ = _handle(data, at)
    _block(data, metaindex)
    entries: dict[bytes, bytes] = {}
    last = b""
    for _, value in _entries(_block(data, index)):
        handle, _ = _handle(value, 0)
        for key, content in _entries(_block(data, handle)):
            if entries and key <= last:
                raise Fault(f"key {key!r} is not after {last!r}")
            entries[key] = content
            last = key
    return entries


def write(entries: Mapping[bytes, bytes]) -> bytes:
    """Return a table of entries, in the order of their keys, uncompressed."""
    out = bytearray()
    index: list[tuple[bytes, bytes]] = []
    pending: list[tuple[bytes, bytes]] = []
    size = 0
    keys = sorted(entries)
    for number, key in enumerate(keys):
        following = keys[number + 1] if number + 1 < len(keys) else None
        pending.append((key, entries[key]))
        size += len(key) + len(entries[key])
        if size >= BLOCK_BYTES or following is None:
            index.append((_between(key, following), _stored(out, pending, RESTART_INTERVAL)))
            pending, size = [], 0
    footer = _stored(out, [], 1) + _stored(out, index, 1)
    return bytes(out) + footer.ljust(FOOTER_BYTES - 8, b"\0") + struct.pack("<Q", MAGIC)


def varint(number: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place and the place behind it."""
    number = shift = 0
    while shift < 70:
        if at >= len(data):
            raise Fault("it ends inside a number")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise Fault("a number has more than ten bytes")


def _between(key: bytes, following: bytes | None) -> bytes:
    """Return LevelDB's short key of a block: not before its last key, and before the next."""
    if following is None:
        first = next((at for at, byte in enumerate(key) if byte != 0xFF), None)
        return key if first is None else key[:first] + bytes([key[first] + 1])
    at, shorter = 0, min(len(key), len(following))
    while at < shorter and key[at] == following[at]:
        at += 1
    if at < shorter and key[at] + 1 < following[at]:
        return key[:at] + bytes([key[at] + 1])
    return key


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return (offset, size), at


def _block(data: bytes, handle: tuple[int, int]) -> bytes:
    offset, size = handle
    if offset + size + TRAILER_BYTES > len(data) - FOOTER_BYTES:
        raise Fault(f"a block of {size} bytes at {offset} reaches behind the end")
    content = data[offset : offset + size]
    compression, stored = struct.unpack_from("<BI", data, offset + size)
    if masked(crc32c(data[offset : offset + size + 1])) != stored:
        raise Fault(f"the checksum of the block at {offset} is wrong")
    if compression:
        raise Fault(f"the block at {offset} is compressed (type {compression})")
    return content


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise Fault("a block is empty")
    restarts = struct.unpack("<I", block[-4:])[0]
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise Fault(f"a block of {len(block)} bytes tells of {restarts} restarts")
    at, key = 0, b""
    while at < end:
        shared, at = read_varint(block, at)
        rest, at = read_varint(block, at)
        size, at = read_varint(block, at)
        if shared > len(key) or at + rest + size > end:
            raise Fault(f"the entry after {key!r} reaches outside its block")
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + size]
        at += rest + size


def _stored(out: bytearray, entries: Iterable[tuple[bytes, bytes]], interval: int) -> bytes:
    """Append a block and return its handle."""
    block, restarts, last = bytearray(), [0], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % interval:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        elif number:
            restarts.append(len(block))
        rest = key[shared:]
        block += varint(shared) + varint(len(rest)) + varint(len(value)) + rest + value
        last = key
    block += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    handle = varint(len(out)) + varint(len(block))
    block.append(0)
    out += block + struct.pack("<I", masked(crc32c(block)))
    return handle
