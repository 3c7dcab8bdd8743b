import pytest
from airflow.sdk.exceptions import ParamValidationError

from logpipe import settings
from logpipe.airflow.operators.params import replay_params


@pytest.mark.parametrize(
    "url",
    ["ftp://me:pw@host/a", "https://:p@host/a", "file:///a/.b/c", "file:///.a", "gopher://h/a", "file://h/a"],
)
def test_the_form_refuses_what_the_replayer_would(url: str) -> None:
    with pytest.raises(ParamValidationError):
        replay_params(settings.parse())["url"].resolve(url)


@pytest.mark.parametrize(
    "url",
    ["ftp://me@host/a", "ftps://host:2121/a:b@c", "http://host/?q=a:b@c", "file:///a/b.c", "file:///a..b"],
)
def test_the_form_takes_sources(url: str) -> None:
    assert replay_params(settings.parse())["url"].resolve(url) == url


@pytest.mark.parametrize("pace", ["speed:0", "speed:0.00", "max\n", "speed:", "delay:x", "slow", ""])
def test_a_pace_that_the_replayer_would_refuse_is_refused_by_the_form(pace: str) -> None:
    with pytest.raises(ParamValidationError):
        replay_params(settings.parse())["pace"].resolve(pace)


@pytest.mark.parametrize(
    ("name", "value"), [("limit", 0), ("limit", 10**22), ("wait_s", -1), ("wait_s", 10**9)]
)
def test_numbers_that_a_task_could_not_be_told_are_refused_by_the_form(name: str, value: int) -> None:
    """Airflow hands a task integers of 64 bits; a task with a larger one ends without a word."""
    with pytest.raises(ParamValidationError):
        replay_params(settings.parse())[name].resolve(value)


@pytest.mark.parametrize("pace", ["max", "delay:0", "delay:0.5", "speed:600", "speed:0.01", "speed:10"])
def test_other_paces_are_taken(pace: str) -> None:
    assert replay_params(settings.parse())["pace"].resolve(pace) == pace
