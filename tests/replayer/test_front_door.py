"""Which files may be read at all."""

import os
from pathlib import Path

import pytest

from logpipe.replayer.errors import SourceError, SourceRefusedError
from logpipe.replayer.front_door import FrontDoor
from logpipe.settings import PROJECT_DIR, Settings, SettingsError, parse


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of logs beside the state folder and one more."""
    for path in ("logs/web/a.log", "logs/.old/b.log", "logs/.c.log", "state/secrets.json", "other/d.log"):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    (tmp_path / "logs" / "link.log").symlink_to(tmp_path / "logs" / "web" / "a.log")
    (tmp_path / "logs" / "out.log").symlink_to(tmp_path / "other" / "d.log")
    (tmp_path / "logs" / "folder").symlink_to(tmp_path / "other")
    os.mkfifo(tmp_path / "logs" / "pipe")
    return tmp_path


def door(root: Path, *roots: str, replay_id: str = "") -> FrontDoor:
    folders = ":".join(str(root / folder) for folder in roots or ("logs",))
    return FrontDoor.of(parse(state_dir=root / "state", file_roots=folders), replay_id)


def read(door: FrontDoor, path: Path) -> str:
    descriptor, status = door.open(str(path))
    with open(descriptor) as file:
        content = file.read()
    assert status.st_size == len(content)
    return content


@pytest.mark.parametrize("path", ["logs/web/a.log", "logs/link.log", "other/../logs/web/a.log"])
def test_a_file_below_a_root_is_read(root: Path, path: str) -> None:
    assert read(door(root), root / path) == "logs/web/a.log"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("other/d.log", "none of the folders"),
        ("other/absent.log", "none of the folders"),
        ("logs/../other/d.log", "none of the folders"),
        ("logs/out.log", "none of the folders"),
        ("logs/folder/d.log", "none of the folders"),
        ("logs/.old/b.log", "hidden"),
        ("logs/.c.log", "hidden"),
        ("state/secrets.json", "the state folder"),
    ],
)
def test_others_are_refused_by_the_name_of_the_setting(root: Path, path: str, told: str) -> None:
    with pytest.raises(SourceRefusedError, match=rf"{told}.*LOGPIPE_FILE_ROOTS"):
        door(root).open(str(root / path))


def test_the_state_folder_is_closed_whatever_the_roots_are(root: Path) -> None:
    open_wide = door(root, ".", "state", "other")
    assert read(open_wide, root / "logs/folder/d.log") == "other/d.log"
    with pytest.raises(SourceRefusedError, match="the state folder"):
        open_wide.open(str(root / "state/secrets.json"))


def test_a_hidden_folder_can_be_a_root(root: Path) -> None:
    assert read(door(root, "logs/.old"), root / "logs/.old/b.log") == "logs/.old/b.log"


def test_a_repair_reads_only_its_own_folder(root: Path) -> None:
    (root / "state/repairs").mkdir()
    (root / "state/repairs/r.log").write_text("r")
    own = door(root, replay_id="repair-1+r")
    assert read(own, root / "state/repairs/r.log") == "r"
    for other in ("logs/web/a.log", "state/secrets.json"):
        with pytest.raises(SourceRefusedError):
            own.open(str(root / other))


@pytest.mark.parametrize(("path", "told"), [("web", "directory"), ("pipe", "pipe")])
def test_only_files_are_read(root: Path, path: str, told: str) -> None:
    with pytest.raises(SourceError, match=told):
        door(root).open(str(root / "logs" / path))


class Swapped(FrontDoor):
    """A door behind which somebody exchanges the folder, between the check and the opening."""

    def check(self, path: str) -> Path:
        real = super().check(path)
        web = self.roots[0] / "web"
        if not web.is_symlink():
            web.rename(web.with_name("moved"))
            web.symlink_to(self.roots[0].parent / "other")
        return real


def test_what_was_checked_is_what_is_read(root: Path) -> None:
    (root / "other/a.log").write_text("not for you")
    plain = door(root)
    with pytest.raises(SourceRefusedError, match=r"other/a\.log"):
        Swapped(plain.roots, plain.closed, plain.network).open(str(root / "logs/web/a.log"))


@pytest.mark.parametrize(
    ("home", "more"), [("/home/somebody", [Path("/home/somebody")]), ("/", []), ("", [])]
)
def test_the_default_roots(monkeypatch: pytest.MonkeyPatch, home: str, more: list[Path]) -> None:
    monkeypatch.delenv("LOGPIPE_FILE_ROOTS", raising=False)
    monkeypatch.setenv("HOME", home)
    assert Settings().file_root_folders == [Path("/var/log"), PROJECT_DIR, *more]


def test_roots_are_absolute() -> None:
    with pytest.raises(SettingsError, match=r"LOGPIPE_FILE_ROOTS=/var/log:logs: .*absolute folders"):
        parse(file_roots="/var/log:logs")
