import asyncio
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferred

from logpipe.airflow.sensors.source_file import SourceFileSensor


def sensor(url: str, **more: float) -> SourceFileSensor:
    return SourceFileSensor(task_id="check_source", url=url, **{"wait_s": 1, "poke_interval": 0.1} | more)


def test_a_source_that_is_there_is_described(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"one line\n")
    assert sensor(path.as_uri()).execute({}).startswith("9 bytes, modified ")


@pytest.mark.parametrize(("content", "reason"), [(None, "there is no file"), (b"", "it is empty")])
def test_a_source_that_does_not_come_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "access.log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AirflowSensorTimeout, match=rf"{path.as_uri()} cannot be read: .*{reason}"):
        sensor(path.as_uri()).execute({})


def test_a_source_that_comes_later_is_left_to_the_triggerer(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    late = sensor(path.as_uri(), wait_s=30, first_look_s=0.2)
    with pytest.raises(TaskDeferred) as deferral:
        late.execute({})
    path.write_bytes(b"one line\n")

    async def event() -> dict[str, object]:
        found = await asyncio.wait_for(anext(aiter(deferral.value.trigger.run())), 20)
        return dict(found.payload)

    assert late.execute_complete({}, asyncio.run(event())).startswith("9 bytes")


def test_a_password_is_not_told() -> None:
    with pytest.raises(AirflowSensorTimeout) as error:
        sensor("ftp://reader:hidden-word@127.0.0.1:1/access.log", first_look_s=30).execute({})
    assert "127.0.0.1" in str(error.value)
    assert "hidden-word" not in str(error.value)
