"""The table of services: each fact is there, and one more entry is all that one more service needs."""

import socket
from configparser import RawConfigParser
from pathlib import Path

import pytest

from logpipe import settings as project_settings
from logpipe.hosts.layout import Layout
from logpipe.hosts.machine.stack import Stack, StackError
from logpipe.hosts.machine.supervisor import supervisor_conf
from logpipe.hosts.services import FLUME_CONF_DIR, NAMENODE, SERVICES, Service, agents, names, table
from tests.machine import own_settings

ECHO = Service(
    name="echo",
    kind="store",
    command=lambda settings, layout, variant: ("cat", str(layout.state_dir)),
    ports=("replayer_port",),
)
AGENT = "a.sources = s\na.sources.s.port = ${env:LOGPIPE_FTP_PORT:-1}\na.sinks = k\n"


@pytest.fixture
def current(tmp_path):
    return own_settings(tmp_path / "state")


def conf_of(settings, services):
    layout = Layout.of(settings)
    layout.make_dirs()
    parser = RawConfigParser(strict=True)
    parser.read_string(supervisor_conf(settings, layout, services))
    return parser


def test_a_service_is_one_entry(current):
    services = (*SERVICES, ECHO)
    stack = Stack(current, services)
    assert set(stack.status()) == {*Stack(current).status(), "echo"}
    taken = pytest.raises(StackError, match=rf"Port {current.replayer_port} of echo .*LOGPIPE_REPLAYER_PORT")
    with socket.create_server(("127.0.0.1", current.replayer_port)), taken:
        stack.check()
    assert conf_of(current, services)["program:echo"]["command"].endswith(f"cat {stack.layout.state_dir}")


def test_a_flume_agent_is_found_by_its_files(current, tmp_path):
    for profile in ("memory", "durable"):
        (tmp_path / profile).mkdir()
    (tmp_path / "memory" / "agent3.properties").write_text(AGENT)
    (tmp_path / "durable" / "agent3.properties").write_text(AGENT + "b = ${env:LOGPIPE_THRIFT_PORT}")
    (tmp_path / "durable" / "agent1.properties").write_text(AGENT)
    third, first = agents(tmp_path)
    assert (third.name, third.variants) == ("flume-agent3", ("durable", "memory"))
    assert third.ports == ("ftp_port", "thrift_port", "agent3_metrics_port")
    assert current.port("agent3_metrics_port") == current.agent2_metrics_port + 1
    assert (first.name, first.variants) == ("flume-agent1", ("durable",))
    Stack(current).check()
    conf = conf_of(current, table(tmp_path))
    assert conf["group:flume-agent3"]["programs"] == "flume-agent3-durable,flume-agent3-memory"
    command = conf["program:flume-agent3-memory"]["command"]
    assert f"127.0.0.1:{current.agent2_metrics_port + 1}:" in command
    taken = pytest.raises(StackError, match=r"of flume-agent3 .* set LOGPIPE_AGENT2_METRICS_PORT")
    with socket.create_server(("127.0.0.1", current.agent2_metrics_port + 1)), taken:
        Stack(current, table(tmp_path)).check()
    assert command.endswith(f"{tmp_path}/memory/agent3.properties -n agent3")


def test_every_agent_of_the_project_is_in_the_table():
    files = {path.stem for path in Path(FLUME_CONF_DIR).glob("*/agent*.properties")}
    assert {name for name in names("stream") if name.startswith("flume-")} == {f"flume-{f}" for f in files}


def test_every_port_has_an_owner_and_every_service_says_when_it_is_ready():
    owned = [port for service in SERVICES for port in service.ports]
    fields = [name for name in project_settings.Settings.model_fields if name.endswith("_port")]
    assert sorted(owned) == sorted(fields)
    assert [service.name for service in SERVICES if not service.ready] == list(names("batch"))


def test_whoever_sends_stops_before_whoever_receives():
    order = [service.name for service in reversed(SERVICES)]
    chain = ["airflow-scheduler", "replayer", "flume-agent1", "flume-agent2", "datanode", "namenode"]
    assert sorted(chain, key=order.index) == chain
    assert order.index("flume-agent1") < order.index("kafka")
    assert order.index("analytics") < order.index("kafka")


@pytest.mark.parametrize(
    ("files", "is_formatted"),
    [
        ([], False),
        (["VERSION", "fsimage_0000000000000000000.md5", "fsimage.ckpt_0000000000000000000"], False),
        (["VERSION", "fsimage_0000000000000000000"], True),
        (["VERSION", "edits_inprogress_0000000000000000007"], True),  # never over what may hold something
    ],
)
def test_a_namenode_is_formatted_until_it_has_an_image(current, files, is_formatted):
    layout = Layout.of(current)
    folder = layout.hadoop_dir / "name" / "current"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).touch()
    assert (NAMENODE.preparation(current, layout) is None) == is_formatted
