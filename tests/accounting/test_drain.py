"""Waiting for what was sent, against a real topic and a real HDFS."""

import pytest

from logpipe.accounting import drain
from logpipe.accounting.drain import Drain
from logpipe.contracts.chain import CHAIN_FOLDER, FINISH_FILE
from tests.accounting.pipeline import Pipeline, nasa_lines

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_an_agent_that_was_killed_when_it_had_been_asked_is_asked_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = nasa_lines(900)
    pipeline.send("a", lines)
    pipeline.record("a", lines)
    pipeline.write(is_open=True)
    pipeline.count()
    waiting = Drain(pipeline.settings)
    asked = f"{pipeline.settings.hdfs_logs_dir}/{CHAIN_FOLDER}/{FINISH_FILE}"
    assert "not yet final" in waiting.undrained()
    pipeline.hdfs.delete(asked)
    assert waiting.undrained()
    assert pipeline.hdfs.status(asked) is None
    monkeypatch.setattr(drain, "ASK_AGAIN_S", 0)
    assert waiting.undrained()
    assert pipeline.hdfs.status(asked) is not None
    pipeline.write()
    assert waiting.undrained() == ""
