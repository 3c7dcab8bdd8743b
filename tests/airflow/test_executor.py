"""When the scheduler goes round: a real SQLite file, written by a connection of somebody else."""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from logpipe.airflow import executor
from logpipe.airflow.executor import News

LONG_S = 120.0


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "airflow.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE task (state TEXT)")
    connection.close()
    return file


def waited_s(news: News, nothing_else: Callable[[], bool] = lambda: True, at_most_s: float = LONG_S) -> float:
    began = time.monotonic()
    news.wait(nothing_else, at_most_s)
    return time.monotonic() - began


def test_a_write_of_somebody_else_ends_the_wait(database: Path) -> None:
    asked = threading.Event()

    def write() -> None:
        assert asked.wait(LONG_S)
        connection = sqlite3.connect(database)
        connection.execute("INSERT INTO task VALUES ('success')")
        connection.commit()
        connection.close()

    def nothing_else() -> bool:  # called once the version is known that a write changes
        asked.set()
        return True

    writer = threading.Thread(target=write)
    writer.start()
    assert waited_s(News(str(database)), nothing_else) < LONG_S / 2
    writer.join()


def test_a_database_that_is_being_written_is_news(database: Path) -> None:
    news, locked = News(str(database)), []

    def nothing_else() -> bool:
        if not locked:
            locked.append(sqlite3.connect(database, isolation_level=None))
            locked[0].execute("BEGIN EXCLUSIVE")
        return True

    assert waited_s(news, nothing_else) < LONG_S / 2
    locked[0].close()


def test_a_workers_result_ends_the_wait(database: Path) -> None:
    assert waited_s(News(str(database)), lambda: False) < LONG_S / 2


def test_without_news_it_ends_in_time(database: Path) -> None:
    assert 0.5 <= waited_s(News(str(database)), at_most_s=0.5) < LONG_S / 2


def test_of_another_database_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "BUSY_S", 0.2)
    assert 0.2 <= waited_s(News(None)) < LONG_S / 2
