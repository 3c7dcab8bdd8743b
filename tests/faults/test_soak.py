"""The soak's short form: minutes of replays and kills, with the judgement of the long one."""

import pytest
from benchmarks.soak import main, slopes

pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.timeout(1200)]


def grown(threads_an_hour):
    """Four hours of an agent's threads, from 100 on, and of data."""
    return [
        (hour * 3600, {"flume-agent1: threads": 100 + threads_an_hour * hour, "mb in kafka": 60 * hour})
        for hour in (minute / 60 for minute in range(241))
    ]


def test_a_slope_is_seen_and_data_may_grow():
    judged = {slope.series: slope for slope in slopes(grown(0))}
    assert all(slope.ok for slope in judged.values())
    assert judged["mb in kafka"].growth_an_hour == pytest.approx(60, rel=0.05)
    assert [slope.series for slope in slopes(grown(40)) if not slope.ok] == ["flume-agent1: threads"]


def test_minutes_of_kills_leave_no_slope_and_lose_no_line(tmp_path, long_form):
    short = ["--hours", "0.1", "--kill-every-s", "25", "--sample-every-s", "3", "--seed", "12"]
    assert main([*short, "--json", str(tmp_path / "soak.json")]) == 0
