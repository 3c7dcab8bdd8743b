"""What unit tests take for HDFS does as HDFS does."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from logpipe.clients.hdfs import HdfsError
from tests.machine import Hdfs
from tests.memory_hdfs import MemoryHdfs

pytestmark = pytest.mark.integration

NAME = "user.logpipe.link"


def steps(hdfs: Any, root: str) -> Iterator[Callable[[], object]]:
    """Calls in an order in which most of what can happen does."""
    a, b, folder = f"{root}/f/a", f"{root}/f/b", f"{root}/f"
    yield lambda: hdfs.list(folder)
    yield lambda: hdfs.read(a)
    yield lambda: hdfs.status(a)
    yield lambda: hdfs.attribute(a, NAME)
    yield lambda: hdfs.set_attribute(a, NAME, b"early")
    yield lambda: hdfs.delete(a)
    yield lambda: b"".join(hdfs.blocks(a))
    yield lambda: hdfs.write(a, iter([b"one", b"two"]))
    yield lambda: hdfs.write(a, b"again")
    yield lambda: hdfs.attribute(a, NAME)
    yield lambda: hdfs.set_attribute(a, NAME, b"first")
    yield lambda: hdfs.set_attribute(a, NAME, b"second")
    yield lambda: hdfs.rename(a, f"{root}/nowhere/a")
    yield lambda: hdfs.rename(b, a)
    yield lambda: hdfs.rename(a, b)
    yield lambda: hdfs.attribute(b, NAME)
    yield lambda: hdfs.write(a, b"other")
    yield lambda: hdfs.rename(a, b)
    yield lambda: hdfs.rename(a, b, overwrite=True)
    yield lambda: hdfs.attribute(b, NAME)
    yield lambda: hdfs.read(b)
    yield lambda: b"".join(hdfs.blocks(b, 2, 2))
    yield lambda: hdfs.write(b, b"written over", overwrite=True)
    yield lambda: hdfs.make_folder(f"{folder}/inner/most")
    yield lambda: hdfs.list(folder)
    yield lambda: hdfs.status(folder)
    yield lambda: hdfs.rename(folder, f"{root}/g")
    yield lambda: hdfs.list(root)
    yield lambda: hdfs.read(f"{root}/g/b")
    yield lambda: hdfs.delete(f"{root}/g/inner")
    yield lambda: hdfs.list(f"{root}/g")
    yield lambda: hdfs.delete(root)
    yield lambda: hdfs.list(root)


def told(hdfs: Any, root: str) -> list[object]:
    """What each step gave, or which error; times and owners left out."""

    def plain(value: Any) -> object:
        if isinstance(value, list):
            return [plain(each) for each in value]
        return (value.name, value.is_folder, value.length_bytes) if hasattr(value, "is_folder") else value

    answers: list[object] = []
    for step in steps(hdfs, root):
        try:
            answers.append(plain(step()))
        except HdfsError as error:
            answers.append(type(error))
    return answers


def test_each_step_gives_the_same(hdfs: Hdfs) -> None:
    root = f"/user/bigdata/{uuid.uuid4().hex}"
    assert told(MemoryHdfs(), root) == told(hdfs.client, root)


def test_a_folders_time_moves_when_a_file_comes_or_goes(hdfs: Hdfs) -> None:
    memory, root = MemoryHdfs(), f"/user/bigdata/{uuid.uuid4().hex}"
    for each in (memory, hdfs.client):
        each.write(f"{root}/a", b"")
        times = [each.status(root).modified_ms]
        for change in (lambda: each.write(f"{root}/b", b""), lambda: each.delete(f"{root}/a")):  # noqa: B023
            change()
            times.append(each.status(root).modified_ms)
        assert times == sorted(set(times)), each
