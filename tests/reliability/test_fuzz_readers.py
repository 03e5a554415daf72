"""Files of others, damaged in every way: each reader refuses in words, or reads.

`GENMORPH_FUZZ_INPUTS` says how many inputs all readers get together (500 by default).
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import sys
from pathlib import Path

import pytest

from genmorph.errors import GenmorphError
from reliability.readers import READERS, preload

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis damages the files")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

INPUTS = int(os.environ.get("GENMORPH_FUZZ_INPUTS", 500))
TOTAL_WEIGHT = sum(reader.weight for reader in READERS)
MOST_MEMORY = 3 * 1024**3  # bytes on top of what the libraries take
HEAD = 600  # bytes in which formats keep what they say of themselves
TELLING = [
    *(b"\xff" * n for n in (1, 2, 4, 8)),
    *(b"\x00" * n for n in (1, 2, 4, 8)),
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    *b"-1|0|nan|inf|1e999|99999999999999999999|n/a|None|true|[]|{}|\"|'|,|\t|\n|;|=".split(b"|"),
    b"../../../../etc/passwd",
    b"/etc/passwd",
    b"..\\..\\x",
    b"!!python/object/apply:os.system [id]",
    b"&a [*a, *a]",
    b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
    "é\u202e\ud7ff".encode(),
    b"\xef\xbb\xbf",
    b"[" * 100_000,
    b"9" * 5000,
]


@st.composite
def damages(draw):
    """Some edits of a file, as a function of its bytes."""
    steps = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(("flip", "cut", "delete", "insert", "overwrite", "double")))
        in_head = draw(st.booleans())
        place = draw(st.integers(0, HEAD) if in_head else st.floats(0, 1, exclude_max=True))
        piece = draw(st.sampled_from(TELLING) | st.binary(min_size=1, max_size=16))
        steps.append((kind, place, piece, draw(st.integers(0, 7)), draw(st.integers(1, 40))))
    return steps


def damaged(content: bytes, steps) -> bytes:
    for kind, place, piece, bit, length in steps:
        at = min(place if isinstance(place, int) else int(place * len(content)), len(content))
        head, tail = content[:at], content[at:]
        if kind == "flip" and tail:
            content = head + bytes([tail[0] ^ (1 << bit)]) + tail[1:]
        elif kind == "cut":
            content = head
        elif kind == "delete":
            content = head + tail[length:]
        elif kind == "insert":
            content = head + piece + tail
        elif kind == "overwrite":
            content = head + piece + tail[len(piece) :]
        elif kind == "double":
            content = head + tail[:length] + tail
    return content


@pytest.fixture(scope="module", autouse=True)
def little_memory():
    """A file that makes its reader ask for much memory fails the test, not the machine."""
    preload()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.reliability
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_damage_is_an_error_in_words_and_nothing_else(reader, tmp_path, capfd, record_property):
    reader.make(tmp_path)
    reader.read(tmp_path)  # sound, it is read
    target = tmp_path / reader.target
    sound = target.read_bytes()
    inputs = math.ceil(INPUTS * reader.weight / TOTAL_WEIGHT)
    tried = []

    @settings(
        max_examples=inputs,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(steps=damages())
    def fuzz(steps):
        tried.append(steps)
        target.write_bytes(damaged(sound, steps))
        with contextlib.suppress(GenmorphError):
            reader.read(tmp_path)

    limit = sys.getrecursionlimit()
    fuzz()
    record_property("inputs", len(tried))
    assert sys.getrecursionlimit() == limit
