"""What a killed service or process host leaves behind is ended: real supervisord, real scheduler."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from logpipe.clients.process_host import ProcessHostError
from logpipe.hosts import configuration
from logpipe.hosts.machine.process_host import Supervisord
from logpipe.hosts.machine.stack import Stack
from logpipe.hosts.machine.starter import end_leftovers
from logpipe.hosts.services import SERVICES, named
from tests.machine import own_settings
from tests.small_disk import SmallDisk
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
SCHEDULER = "airflow-scheduler"
WORKERS = 4


@pytest.fixture
def stack(tmp_path):
    made = Stack(own_settings(tmp_path / "state"))
    made.check()
    configuration.write_all(made.settings, made.layout)
    made.host.start()
    yield made
    if made.host.is_running():
        made.host.shut_down()


def pid_of(stack, service):
    return next(state.pid for state in stack.host.client.processes() if state.service == service)


def workers(stack, scheduler):
    """The idle workers of a scheduler, once all have come."""

    def all_of_them():
        found = [each for each in psutil.process_iter() if is_in_group(each, scheduler)]
        return found if len(found) == WORKERS + 1 else None

    return [each for each in wait_until(all_of_them, 90) if each.pid != scheduler]


def is_in_group(process, leader):
    try:
        return os.getpgid(process.pid) == leader
    except ProcessLookupError:
        return False


def test_workers_of_a_killed_scheduler_end_when_it_is_back_and_at_the_stop(stack):
    stack.prepare(named(SCHEDULER).preparation)
    stack.host.client.start(SCHEDULER)
    first = wait_until(lambda: pid_of(stack, SCHEDULER), 30)
    orphans = workers(stack, first)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: pid_of(stack, SCHEDULER) not in (0, first), 60)
    assert not psutil.wait_procs(orphans, 30)[1]

    second = pid_of(stack, SCHEDULER)
    orphans = workers(stack, second)
    stack.host.client.call("stopProcess", SCHEDULER, False)
    os.kill(second, signal.SIGKILL)
    stack.host.shut_down()
    assert not psutil.wait_procs(orphans, 0)[1]


def test_a_child_with_a_session_of_its_own_ends_when_its_program_was_killed(tmp_path):
    """As the JVM of a Spark driver that was killed while it started."""
    (tmp_path / "run").mkdir()
    child = "import os; os.setsid(); print(os.getpid(), flush=True); os.read(0, 1)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    starter = [sys.executable, "-m", "logpipe.hosts.machine.starter", "some", str(tmp_path)]
    never_ends, holding = os.pipe()  # their standard input, whoever dies
    leader = subprocess.Popen(
        [*starter, sys.executable, "-c", program], stdin=never_ends, stdout=subprocess.PIPE, process_group=0
    )
    try:
        orphan = psutil.Process(int(leader.stdout.readline()))
        assert end_leftovers(tmp_path, "some") == 0, "its program runs"
        leader.kill()
        leader.wait()
        assert orphan.is_running()
        assert end_leftovers(tmp_path, "some") == 1
        assert not psutil.wait_procs([orphan], 10)[1]
    finally:
        leader.kill()
        leader.communicate()
        os.close(never_ends)
        os.close(holding)


def test_what_outlives_a_killed_process_host_makes_way_for_the_next_one(stack):
    stack.host.client.start("ftp")
    wait_until(lambda: named("ftp").is_ready(stack.settings), 60)
    old = psutil.Process(pid_of(stack, "ftp"))
    supervisord = old.parent()
    supervisord.kill()
    wait_until(lambda: not stack.host.is_running(), 30)
    assert old.is_running()
    assert stack.host.end_leftovers() == 1
    assert not psutil.wait_procs([old], 0)[1]
    stack.check()  # its port is free
    stack.host.start()
    stack.host.client.start("ftp")
    wait_until(lambda: named("ftp").is_ready(stack.settings), 60)
    assert stack.host.end_leftovers() == 0  # of a process host that runs, nothing is a leftover


def test_leftovers_are_found_without_the_notes_on_what_was_started(stack):
    stack.host.client.start("ftp")
    wait_until(lambda: named("ftp").is_ready(stack.settings), 60)
    ftp = psutil.Process(pid_of(stack, "ftp"))
    shutil.rmtree(stack.layout.state_dir / "run")
    ftp.parent().kill()
    wait_until(lambda: not stack.host.is_running(), 30)
    assert stack.host.end_leftovers() == 1
    assert not ftp.is_running()


def test_a_process_host_whose_socket_was_deleted_is_not_taken_for_a_dead_one(stack):
    stack.host.client.start("ftp")
    wait_until(lambda: named("ftp").is_ready(stack.settings), 60)
    ftp = psutil.Process(pid_of(stack, "ftp"))
    supervisord = ftp.parent()
    (stack.layout.state_dir / "host.sock").unlink()
    for action in (stack.host.end_leftovers, stack.host.start):
        with pytest.raises(
            ProcessHostError, match=rf"process {supervisord.pid}, runs, .*`kill {supervisord.pid}`"
        ):
            action()
    assert ftp.is_running()
    supervisord.terminate()
    assert not psutil.wait_procs([ftp, supervisord], 60)[1]
    stack.host.start()


def test_a_process_host_that_is_held_up_is_not_taken_for_somebody_elses(stack):
    supervisord = psutil.Process(stack.host.client.call("getPID"))
    supervisord.suspend()
    try:
        with pytest.raises(ProcessHostError, match=rf"process {supervisord.pid}, does not answer .*held up"):
            stack.host.is_running()
    finally:
        supervisord.resume()


def test_a_killed_programs_temporary_files_are_gone_at_its_next_start(stack):
    stack.host.client.start("ftp")
    wait_until(lambda: named("ftp").is_ready(stack.settings), 60)
    left = stack.layout.state_dir / "tmp" / "ftp" / "left"
    left.touch()
    (stack.layout.state_dir / "run" / "ftp").open("ab").write(b"12\n\0\0\xff 7")
    old = pid_of(stack, "ftp")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: pid_of(stack, "ftp") not in (0, old) and not left.exists(), 60)


def test_a_command_with_other_ports_does_not_take_a_copy_that_runs_for_one_that_does_not(stack):
    stack.host.client.start("ftp")
    wait_until(lambda: named("ftp").is_ready(stack.settings), 60)
    ftp = pid_of(stack, "ftp")
    other = Stack(own_settings(stack.settings.state_dir))
    with pytest.raises(
        ProcessHostError, match=f"LOGPIPE_SUPERVISOR_PORT is {stack.settings.supervisor_port} there"
    ):
        other.host.end_leftovers()
    assert pid_of(stack, "ftp") == ftp


def test_a_copy_that_another_version_runs_is_left_alone(stack):
    """Its process host listens elsewhere: it is not taken for one that was killed."""
    stack.host.client.start("ftp")
    wait_until(lambda: named("ftp").is_ready(stack.settings), 60)
    ftp = pid_of(stack, "ftp")
    conf = stack.layout.supervisor_conf
    now = conf.read_text()
    conf.write_text(now.replace("host.sock", "another.sock"))
    try:
        with pytest.raises(ProcessHostError, match="another version"):
            stack.host.end_leftovers()
    finally:
        conf.write_text(now)
    assert pid_of(stack, "ftp") == ftp


def test_a_state_folder_with_too_long_a_path_is_refused_with_the_way_out(tmp_path):
    place = tmp_path / ("long" * 25)
    made = Stack(own_settings(place))
    with pytest.raises(ProcessHostError, match=r"too long.*LOGPIPE_STATE_DIR"):
        made.host.start()


def test_what_starts_again_by_other_settings_is_told(stack):
    """And nothing else does."""
    stack.host.client.start("ftp")
    stack.host.client.start("replayer")
    before = {name: wait_until(lambda name=name: pid_of(stack, name), 30) for name in ("ftp", "replayer")}
    told = []
    stack.host.start(told.append)
    assert told == []
    services = tuple(
        replace(each, stop_wait_s=each.stop_wait_s + 1) if each.name == "ftp" else each for each in SERVICES
    )
    Supervisord(stack.settings, stack.layout, services).start(told.append)
    assert told == ["Settings are other ones than at the start: ftp start again"]
    after = {name: wait_until(lambda name=name: pid_of(stack, name), 30) for name in before}
    assert after["ftp"] != before["ftp"]
    assert after["replayer"] == before["replayer"]


def test_a_broker_is_started_once_its_disk_has_room(tmp_path):
    disk = SmallDisk(tmp_path / "kafka", 100)
    (tmp_path / "run").mkdir()
    try:
        disk.fill(keep_mb=30)
        command = [sys.executable, "-m", "logpipe.hosts.machine.starter", "kafka", str(tmp_path)]
        starting = subprocess.Popen(
            [*command, sys.executable, "-c", "print('started')"], stdout=subprocess.PIPE, text=True
        )
        assert starting.stdout is not None
        assert "MB free, expected 64: waiting for room" in starting.stdout.readline()
        assert starting.poll() is None
        disk.free()
        assert starting.communicate(timeout=30) == ("started\n", None)
    finally:
        disk.unmount()
