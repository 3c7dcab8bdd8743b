import pytest

from logpipe.airflow.hooks.services import FlumeAgentHook, ProcessHostHook
from logpipe.clients.errors import UnreachableError
from logpipe.clients.flume import FlumeMetrics
from tests.airflow.real_parts import ProcessHostUnderTest, accepts, connect
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

# Both taken from Flume 1.11 agents: netcat -> memory channel -> Kafka, and Thrift -> Kafka channel.
PROMETHEUS = """\
# TYPE flume_channel_ChannelSize untyped
flume_channel_ChannelCapacity{component="memory"} 100000.0
flume_channel_ChannelFillPercentage{component="memory"} 0.02
flume_channel_EventPutSuccessCount{component="memory"} 1020.0
flume_channel_EventTakeSuccessCount{component="memory"} 1000.0
flume_sink_EventDrainSuccessCount{component="kafka"} 1000.0
jvm_threads_current 31.0
"""
JSON = """\
{"CHANNEL.topic": {"ChannelCapacity": "0", "ChannelFillPercentage": "1.7976931348623157E308",
 "EventPutSuccessCount": "500", "EventTakeSuccessCount": "0", "Type": "CHANNEL", "StartTime": "1"},
 "SOURCE.thrift": {"EventAcceptedCount": "500", "Type": "SOURCE"}}
"""


@pytest.fixture
def agent(process_host: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch) -> ProcessHostUnderTest:
    service = process_host.services["agent"]
    connect(monkeypatch, "flume_agent1_default", host="127.0.0.1", port=service.port)
    ProcessHostHook().get_conn().launch("agent", "memory")
    wait_until(lambda: accepts(service.port), 30, "the agent's port")
    return process_host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            PROMETHEUS,
            FlumeMetrics(received_events=1020, drained_events=1000, held_events=20, fill_percent=0.02),
        ),
        (JSON, FlumeMetrics(received_events=500, drained_events=0, held_events=0, fill_percent=0.0)),
    ],
    ids=["prometheus", "json"],
)
def test_counters_are_summed(agent: ProcessHostUnderTest, text: str, expected: FlumeMetrics) -> None:
    agent.services["agent"].answer("metrics", text)
    assert FlumeAgentHook().get_conn().metrics() == expected


@pytest.mark.parametrize("text", ["", "{}", "{half", "jvm_threads_current 31.0\n"])
def test_an_agent_without_a_channel_is_not_ready(agent: ProcessHostUnderTest, text: str) -> None:
    agent.services["agent"].answer("metrics", text)
    with pytest.raises(UnreachableError, match=r"connection flume_agent1_default\) is not ready"):
        FlumeAgentHook().get_conn().metrics()
