"""TensorBoard's event files, without TensorBoard: a record for each number.

A record is its length, a checksum of the length, the content, and a checksum of the content. The content is a protocol
buffer `Event`. Sources: TensorFlow's `tensorflow/core/lib/io/record_writer.h` for the frame, and
`tensorboard/compat/proto/event.proto` and `summary.proto` for the numbers of the fields. The checksum is CRC-32C
(Castagnoli, RFC 3720 B.4), rotated and shifted by a constant.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VERSION = b"brain.Event:2"
POLYNOMIAL = 0x82F63B78
MASK_DELTA = 0xA282EAD8
WALL_TIME, STEP, FILE_VERSION, SUMMARY, SESSION_LOG = 1, 2, 3, 5, 7
"""Fields of `Event`."""
VALUE, TAG, SIMPLE_VALUE = 1, 1, 2
"""Fields of `Summary`, and of `Summary.Value`."""
STATUS, STARTED = 1, 1
"""A field of `SessionLog`, and its value START."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Kinds of field of a protocol buffer."""


def header(seconds: float) -> bytes:
    """The first record of a file."""
    return _record(_double(WALL_TIME, seconds) + _bytes(FILE_VERSION, VERSION))


def scalar(seconds: float, step: int, tag: str, value: float) -> bytes:
    """One number of one curve; `seconds` since the epoch."""
    point = _bytes(TAG, tag.encode()) + _key(SIMPLE_VALUE, FIXED32) + _float(value)
    return _record(_double(WALL_TIME, seconds) + _number(STEP, step) + _bytes(SUMMARY, _bytes(VALUE, point)))


def begins_again(seconds: float, step: int) -> bytes:
    """A mark that a training begins again at this step: readers forget the numbers from this step on."""
    return _record(_double(WALL_TIME, seconds) + _number(STEP, step) + _bytes(SESSION_LOG, _number(STATUS, STARTED)))


def checksum(content: bytes) -> int:
    """The masked CRC-32C of a content."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", checksum(length)) + content + struct.pack("<I", checksum(content))


def _key(field: int, kind: int) -> bytes:
    return bytes([field << 3 | kind])


def _double(field: int, value: float) -> bytes:
    return _key(field, FIXED64) + struct.pack("<d", value)


def _float(value: float) -> bytes:
    """The nearest number of 32 bits; one that is too large is infinite."""
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


def _number(field: int, value: int) -> bytes:
    return _key(field, VARINT) + bytes(_varint(value))


def _bytes(field: int, content: bytes) -> bytes:
    return _key(field, BYTES) + bytes(_varint(len(content))) + content


def _varint(value: int) -> Iterator[int]:
    """Seven bits at a time, the lowest first."""
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


def _entry(number: int) -> int:
    for _ in range(8):
        number = number >> 1 ^ (POLYNOMIAL if number & 1 else 0)
    return number


_TABLE = tuple(_entry(number) for number in range(256))
