"""One fault in the middle of one paced replay."""

from collections.abc import Callable

from tests.data_plane import IN_FLIGHT_LINES, PACE, DataPlane
from tests.faults.checker import check
from tests.faults.conftest import ROWS
from tests.faults.load import Load


def in_flight(plane: DataPlane, load: Load, case: str, fault: Callable[[], object], url: str = "") -> None:
    """Replay, hit, and have everything checked."""
    replay_id = load.replay(PACE, url=url)
    plane.await_lines(replay_id, IN_FLIGHT_LINES)
    fault()
    ROWS.append(check(plane, load, case))
