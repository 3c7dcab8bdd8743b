"""Old logs and left folders go; what is young, or was never made by us, stays."""

import os

from logpipe.hosts.machine.maintenance import delete_left_folders, delete_old_files

OLD_EPOCH_S, LIMIT_EPOCH_S, YOUNG_EPOCH_S = 1_000_000, 2_000_000, 3_000_000


def made(path, epoch_s):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (epoch_s, epoch_s))
    return path


def aged(folder, epoch_s=OLD_EPOCH_S):
    folder.mkdir(exist_ok=True)
    os.utime(folder, (epoch_s, epoch_s))
    return folder


def test_old_logs_go_and_so_do_folders_once_they_are_empty(tmp_path):
    old = made(tmp_path / "dag_id=a" / "run_id=1" / "attempt=1.log", OLD_EPOCH_S)
    young = made(tmp_path / "dag_id=a" / "run_id=2" / "attempt=1.log", YOUNG_EPOCH_S)
    link = tmp_path / "latest"
    link.symlink_to(young)
    assert delete_old_files(tmp_path, LIMIT_EPOCH_S) == 1
    assert not old.exists()
    assert young.exists()
    assert link.is_symlink()
    aged(old.parent)  # it was written when its file went
    assert delete_old_files(tmp_path, LIMIT_EPOCH_S) == 0
    assert not old.parent.exists()
    assert delete_old_files(tmp_path / "no such folder", LIMIT_EPOCH_S) == 0


def test_folders_of_killed_commands_go_a_day_later(tmp_path):
    left = [aged(tmp_path / name) for name in ("verify-abc", "audit-abc")]
    kept = [aged(tmp_path / "verify-new", YOUNG_EPOCH_S), aged(tmp_path / "kafka")]
    assert delete_left_folders(tmp_path, LIMIT_EPOCH_S) == 2
    assert [path.exists() for path in (*left, *kept)] == [False, False, True, True]
