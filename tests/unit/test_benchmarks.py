"""The page of figures, and the registry behind it."""

import importlib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks import __main__ as bench
from benchmarks import report

FIGURES = [
    {"turn": 1, "wall_s": 27.3, "cpu_us_a_line": {"kafka": 2.5, "namenode": 0.5}},
    {"turn": 2, "wall_s": 22.2, "cpu_us_a_line": {"kafka": 1.5, "namenode": 0.5}},
]
RESULT = {
    "command": "python -m benchmarks.pipeline",
    "began": "2026-11-29",
    "commit": "abc",
    "load_before": 0.1,
    "machine": "2 cores",
    "figures": FIGURES,
}


@pytest.fixture
def page(tmp_path: Path) -> str:
    (tmp_path / "pictures").mkdir()
    failed = RESULT | {"figures": [], "failed": "kcat ended"}
    report.write(
        {"july": RESULT, "peers": failed}, {"july": "July", "peers": "Peers", "idle": "Idle"}, tmp_path
    )
    return (tmp_path / "benchmarks.md").read_text()


def test_each_run_is_a_column_and_each_service_a_row(page: str) -> None:
    assert "| turn | 1 | 2 |" in page
    assert "| wall_s | 27.3 | 22.2 |" in page
    assert "| cpu_us_a_line: kafka | 2.5 | 1.5 |" in page


def test_a_failure_and_what_was_not_measured_are_named(page: str) -> None:
    assert "It failed: kcat ended" in page
    assert "## Idle\n\nNot measured yet." in page


def test_bars_are_as_long_as_their_values(page: str, tmp_path: Path) -> None:
    root = ElementTree.parse(tmp_path / "pictures" / "benchmark-july.svg").getroot()
    bars = [bar for bar in root.iter("{http://www.w3.org/2000/svg}rect") if bar.find("*") is not None]
    widths = [float(bar.get("width", 0)) for bar in bars]
    assert widths == pytest.approx([width * widths[1] * 2 for width in (2.5, 0.5, 1.5, 0.5)], abs=0.2)


@pytest.mark.parametrize("measurement", bench.MEASUREMENTS, ids=lambda each: each.name)
def test_each_measurement_has_its_program(measurement: bench.Measurement) -> None:
    assert importlib.import_module(f"benchmarks.{measurement.command.split()[0]}").__doc__


def test_a_program_that_fails_is_told_with_its_last_words() -> None:
    result = bench.run(bench.MEASUREMENTS[0], "peers --lines none")
    assert "invalid int value: 'none'" in result["failed"]
    assert result["command"] == "python -m benchmarks.peers --lines none"


def test_a_name_that_is_not_in_the_registry_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["jully"])
    assert "jully" in capsys.readouterr().err
