"""A state folder says whose it is: what does not is never filled, and never deleted."""

import json
import threading
from pathlib import Path

import pytest
from rich.console import Console

from logpipe import settings as project_settings
from logpipe.cli.machine import MachineTarget
from logpipe.hosts.layout import FERNET_KEY, Layout, LayoutError
from logpipe.replayer.addresses import AddressKeys
from tests.ports import free_ports


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "state")


@pytest.fixture
def machine(layout, monkeypatch):
    for name, value in free_ports().items():
        monkeypatch.setenv(name, value)
    return MachineTarget(project_settings.parse(state_dir=layout.state_dir), Console())


def tree(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(layout, *names):
    for name in names:
        path = layout.state_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


@pytest.mark.parametrize(
    "data", ["kafka/meta.properties", "hadoop/name/current/VERSION", "secrets/generated.json"]
)
def test_the_data_of_an_earlier_version_is_refused_with_the_ways_out(layout, data):
    write(layout, data, "secrets.json")
    before = tree(layout.state_dir)
    with pytest.raises(LayoutError, match=r"(?s)format 1, expected 2.*LOGPIPE_STATE_DIR.*make clean"):
        layout.claim("apache_logs", "UTC")
    assert tree(layout.state_dir) == before
    layout.delete()
    assert not layout.state_dir.exists()


def test_a_new_state_folder_is_marked_and_another_formats_or_topics_mark_is_refused(layout):
    layout.claim("apache_logs", "UTC")
    write(layout, "kafka/meta.properties")
    layout.claim("apache_logs", "UTC")
    mark = {"version": 2, "topic": "apache_logs", "timezone": "UTC"}
    assert json.loads(layout.format_file.read_text()) == mark
    with pytest.raises(LayoutError, match=r"belongs to topic apache_logs, asked for is other: .*STATE_DIR"):
        layout.claim("other", "UTC")
    with pytest.raises(LayoutError, match=r"LOGPIPE_TIMEZONE=UTC, asked for is Asia/Tokyo: .*STATE_DIR"):
        layout.claim("apache_logs", "Asia/Tokyo")
    layout.format_file.write_text('{"version": 2, "topic": "apache_logs"}')  # of before zones were kept
    layout.claim("apache_logs", "UTC")
    assert json.loads(layout.format_file.read_text()) == mark
    layout.format_file.write_text('{"version": 3}')
    with pytest.raises(LayoutError, match="format 3, expected 2"):
        layout.claim("apache_logs", "UTC")


@pytest.mark.parametrize("content", ["", "[1", "7", '{"a": "\n"}'])
def test_damaged_secrets_are_named_with_the_way_out(layout, content):
    write(layout, "secrets.json")
    layout.secrets_file.write_text(content)
    with pytest.raises(LayoutError, match=r"secrets.json is damaged \(.*backup; or delete it once nothing"):
        layout.secrets()
    assert layout.secrets_file.read_text() == content


def test_a_folder_that_cannot_be_made_is_named_with_the_setting():
    with pytest.raises(LayoutError, match=r"^/proc/state can't be made \(.*LOGPIPE_STATE_DIR"):
        Layout(Path("/proc/state")).claim("apache_logs", "UTC")


def test_two_commands_start_services_one_after_the_other(layout):
    order: list[str] = []

    def second() -> None:
        with layout.starting_alone(waits.set):
            order.append("second")

    waits = threading.Event()
    thread = threading.Thread(target=second)
    with layout.starting_alone(lambda: order.append("waited")):
        thread.start()
        assert waits.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize("foreign", [("notes.txt",), ("kafka/meta.properties",), ("layout.json", ".ssh/key")])
def test_somebody_elses_folder_is_neither_filled_nor_deleted(layout, machine, foreign):
    write(layout, *foreign)
    before = tree(layout.state_dir)
    with pytest.raises(LayoutError, match=r"holds what is not this project's .*LOGPIPE_STATE_DIR"):
        layout.claim("apache_logs", "UTC")
    with pytest.raises(LayoutError, match=r"is not deleted: .*LOGPIPE_STATE_DIR"):
        machine.clean()
    assert machine.status(as_json=True) == 0
    assert tree(layout.state_dir) == before


def test_disks_are_looked_at_while_the_stores_are_away(layout, machine, capsys):
    """A full one may be why."""
    layout.claim("apache_logs", "UTC")
    layout.kafka_dir.mkdir()
    assert machine.status(as_json=True) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["watch"]] == ["disk of kafka"]


def test_a_disk_of_its_own_is_taken_and_left_as_it_was(layout):
    write(layout, "lost+found/inode")
    layout.claim("apache_logs", "UTC")
    write(layout, "kafka/data")
    assert layout.delete() == []
    assert sorted(path.name for path in layout.state_dir.rglob("*")) == ["inode", "lost+found"]


@pytest.mark.parametrize("below", [".", "deep/below"])
def test_a_home_is_not_deleted_even_with_a_mark(layout, monkeypatch, below):
    layout.claim("apache_logs", "UTC")
    write(layout, "deep/below/letter")
    monkeypatch.setattr(Path, "home", lambda: layout.state_dir / below)
    with pytest.raises(LayoutError, match="holds a home"):
        layout.delete()
    assert (layout.state_dir / "deep" / "below" / "letter").exists()


def test_what_is_marked_goes_but_for_what_links_lead_to_and_the_clusters_part(layout, machine, tmp_path):
    layout.claim("apache_logs", "UTC")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    write(layout, "kafka/0.log", "cluster/layout.json")
    (layout.state_dir / "linked").symlink_to(elsewhere)
    assert machine.clean() == 0
    assert list(tree(layout.state_dir)) == ["cluster/layout.json"]
    assert (elsewhere / "kept").exists()
    layout.claim("apache_logs", "UTC")  # the cluster's part is in nobody's way


def test_to_look_at_a_pipeline_that_never_was_makes_nothing(layout, machine):
    assert machine.status(as_json=True) == 0
    assert machine.stop() == 0
    assert machine.clean() == 0
    assert not layout.state_dir.exists()


def test_each_user_has_a_password_in_a_file_of_the_owner_only(layout):
    first = layout.passwords({"admin": "admin", "ann": "viewer", "ops": "operator"})
    file = layout.password_file("ann")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().strip() == first["ann"]
    assert len({*first.values()}) == 3
    assert layout.passwords(["ann"]) == {name: first[name] for name in ("admin", "ann")}
    assert not layout.password_file("ops").exists()


def test_passwords_for_kafka_are_renewed_and_what_it_knows_others_by_stays(layout):
    for name in ("agent1.password", "admin.password", "ca.key"):
        write(layout, f"kafka-access/{name}")
    write(layout, "address_keys.json")
    layout.renew_secrets()
    assert sorted(path.name for path in (layout.state_dir / "kafka-access").iterdir()) == [
        "admin.password", "ca.key",
    ]  # fmt: skip
    assert (layout.state_dir / "address_keys.json").exists()


def test_keys_of_addresses_may_be_there_first(layout):
    AddressKeys(layout.state_dir / "address_keys.json").rotate()
    layout.claim("apache_logs", "UTC")


def test_secrets_are_renewed_and_the_old_key_is_kept_until_nobody_needs_it(layout):
    old, password = layout.secrets(), layout.passwords(["ann"])["ann"]
    layout.renew_secrets()
    new = layout.secrets()
    assert [name for name in old if old[name] == new[name]] == []
    assert new[FERNET_KEY].endswith(f",{old[FERNET_KEY]}")
    assert layout.passwords(["ann"])["ann"] != password
    layout.renew_secrets()  # the one before was killed half-way
    assert layout.secrets()[FERNET_KEY].endswith(f",{new[FERNET_KEY]}")
    layout.drop_old_keys()
    assert old[FERNET_KEY] not in layout.secrets_file.read_text()
    assert "," not in layout.secrets()[FERNET_KEY]
