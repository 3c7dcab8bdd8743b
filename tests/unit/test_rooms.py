"""The picture of the rooms is what the code imports, and the page names files that are there."""

import re

from logpipe.settings import PROJECT_DIR
from tests.rooms import HOLDS, PAGE, drawn, imports, rooms


def test_the_picture_shows_what_is_imported():
    assert drawn() in PAGE.read_text(), "`make docs` draws it anew"


def test_every_room_is_drawn_and_imports_downwards():
    order = rooms()
    assert set(order) == set(HOLDS)
    lower = order.index
    upwards = {(a, b) for a, b in imports() if "spark_jobs" not in (a, b) and lower(a) > lower(b)}
    assert upwards == set()


def test_the_walks_name_files_that_are_there():
    walks = PAGE.read_text().split("## A walk of one line")[1].split("## How to")[0]
    named = set(re.findall(r"`([\w/]+\.(?:py|java|properties|ini|cfg|xml))`", walks))
    assert len(named) > 15
    places = (PROJECT_DIR, PROJECT_DIR / "plugins" / "logpipe", PROJECT_DIR / "flume/src/main/java/logpipe")
    assert {name for name in named if not any((place / name).exists() for place in places)} == set()
