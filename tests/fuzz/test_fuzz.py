"""Each parser of the list (`tests.fuzz.parsers`) against hostile inputs: no crash, no hang, no loss.

The default run takes every file of the corpus and a few changed ones; ``make fuzz MINUTES=10`` goes on for
so long. What fails is kept as a file of the corpus, ``found-…``, the smallest that hypothesis came to.
"""

import hashlib
import json
import os
import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from tests.fuzz.parsers import MEMORY_BYTES, PARSERS, Parser

CORPUS = Path(__file__).with_name("corpus")
MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
EXAMPLES = 20  # of a parser; in the long form as many at a time
SLOW_EXAMPLES = 3
MOST_S = 5.0  # of CPU for one input

pytestmark = [pytest.mark.timeout(int(MINUTES * 60) + 600)]

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
SCALARS |= st.sampled_from(["", "x" * 300, 10**30, -1, 2**63, "-1", "\ud800", "../..", "\n", {}, []])
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


def corpus(name: str) -> list[Path]:
    folders = [CORPUS / name, *([CORPUS / "json"] if PARSERS[name].is_json else [])]
    return sorted(path for folder in folders for path in folder.glob("*"))


@st.composite
def spoilt(draw: Any, seeds: list[bytes]) -> bytes:
    """An input of the corpus with pieces taken out, put in, doubled or exchanged."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 40)))
        other = draw(st.sampled_from(seeds))
        piece = draw(
            st.binary(max_size=4)
            | st.sampled_from(
                [b"", b"\0", b"\n", b"\r\n", b'"', b"\\", b"\xff", b"%", b"{", b"9" * 30, content[at:end] * 3]
            )
            | st.just(other[at:end])
        )
        content = content[:at] + piece + content[end:]
    return content


@st.composite
def spoilt_json(draw: Any, seeds: list[bytes]) -> bytes:
    """JSON of the corpus with one value another one, or without it."""
    values = draw(st.sampled_from([json.loads(seed) for seed in seeds if _is_json(seed)]))
    values = json.loads(json.dumps(values))
    at, places = values, []
    while isinstance(at, dict | list) and at:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        places.append((at, draw(st.sampled_from(keys))))
        at = places[-1][0][places[-1][1]]
        if draw(st.integers(0, 2)) == 0:
            break
    if not places:
        values = draw(JSON)
    elif draw(st.booleans()) or isinstance(places[-1][0], list):
        places[-1][0][places[-1][1]] = draw(JSON)
    else:
        del places[-1][0][places[-1][1]]
    return json.dumps(values).encode("utf-8", "surrogatepass")


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def take(parser: Parser, content: bytes) -> None:
    """Parse; only what the parser documents may come of it, and soon."""
    begun = time.process_time()
    try:
        parser.run(content)
    except parser.errors as error:
        if not str(error):
            raise AssertionError(f"{error!r} says nothing") from error
    spent_s = time.process_time() - begun
    assert spent_s < MOST_S, f"{len(content)} bytes took {spent_s:.1f} s"


def fuzz(name: str, examples: int, seed: int | None) -> None:
    parser, seeds = PARSERS[name], [path.read_bytes() for path in corpus(name)]
    small = [content for content in seeds if len(content) < 20_000]
    inputs = spoilt(small) | st.binary(max_size=60)
    if parser.is_json:
        inputs |= spoilt_json(small)
    last = b""

    @hypothesis.settings(
        max_examples=examples,
        database=None,
        derandomize=seed is None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def one(content: bytes) -> None:
        nonlocal last
        last = content
        take(parser, content)

    try:
        (one if seed is None else hypothesis.seed(seed)(one))()
    except BaseException:
        if os.environ.get("FUZZ_MINUTES"):
            kept = CORPUS / name / f"found-{hashlib.sha256(last).hexdigest()[:12]}"
            kept.write_bytes(last)
        raise


# Those that a server answers have its times in them: not beside other suites.
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in ("ftp", "http") else name for name in PARSERS]


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus(name: str) -> None:
    for path in corpus(name):
        content = path.read_bytes()
        tracemalloc.start()
        try:
            take(PARSERS[name], content)
        except Exception as error:
            raise AssertionError(f"{path}: {type(error).__name__}: {error}") from error
        finally:
            _, peak_bytes = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak_bytes < MEMORY_BYTES, f"{path} takes {peak_bytes >> 20} MiB"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_like_it(name: str) -> None:
    is_slow = PARSERS[name].is_slow
    until_s = time.monotonic() + MINUTES * 60 / len(PARSERS)
    fuzz(name, SLOW_EXAMPLES if is_slow else EXAMPLES, None)
    while time.monotonic() < until_s:
        fuzz(name, 10 if is_slow else 300, random.randrange(2**32))
