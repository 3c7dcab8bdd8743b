import pytest

from logpipe import settings
from logpipe.settings.__main__ import table


def test_defaults_are_the_originals():
    current = settings.parse(_env_file=None)
    assert (current.netcat_port, current.kafka_bootstrap) == (9999, "localhost:9092")
    assert (current.topic, current.topic_partitions, current.consumer_group) == (
        "apache_logs",
        3,
        "flume_consumer",
    )
    assert (current.hdfs_logs_dir, current.roll_interval_s, current.window_s) == (
        "/user/bigdata/apache_logs",
        300,
        60,
    )


def test_the_offset_shifts_every_port_that_is_not_set_by_itself(monkeypatch):
    monkeypatch.setenv("LOGPIPE_PORT_OFFSET", "100")
    monkeypatch.setenv("LOGPIPE_KAFKA_PORT", "7777")
    current = settings.parse()
    assert (current.kafka_port, current.netcat_port, current.airflow_port) == (7777, 10099, 8180)


def test_another_topic_has_a_group_and_folders_of_its_own():
    first, second = settings.parse(), settings.parse(topic="shop", hdfs_user="web")
    names = ("consumer_group", "hdfs_logs_dir", "hdfs_windows_dir", "hdfs_checkpoint_dir", "hdfs_ledger_dir")
    assert not {getattr(first, name) for name in names} & {getattr(second, name) for name in names}
    assert second.hdfs_logs_dir == "/user/web/shop"
    assert settings.parse(topic="shop", hdfs_logs_dir="/logs").hdfs_logs_dir == "/logs"


def test_what_the_windows_do_follows_from_few_settings():
    assert (settings.parse().slide_s, settings.parse().watermark_s) == (60, 5)
    event = settings.parse(windows_time="event", window_s=300)
    assert (event.slide_s, event.watermark_s) == (300, 300)
    assert settings.parse(watermark_s="").watermark_s == 5
    assert settings.parse(windows_time="event", watermark_s=0, slide_s=30).watermark_s == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kafka_port": 0}, r"LOGPIPE_KAFKA_PORT=0: .*greater than or equal to 1"),
        ({"topic": "a b"}, r"LOGPIPE_TOPIC=a b: .*match pattern.*\(Topic of "),
        ({"hdfs_url": "http://a:1"}, r"LOGPIPE_HDFS_URL=http://a:1: expected hdfs://host:port"),
        ({"source_url": "access.log"}, r"LOGPIPE_SOURCE_URL=access.log: expected an ftp, "),
        ({"topic": ".."}, r"LOGPIPE_TOPIC=\.\.: .*match pattern"),
        ({"topic": "a" * 250}, r"LOGPIPE_TOPIC=a{250}: .*at most 249 characters"),
        ({"kafka_port": 9999}, r"kafka_port and netcat_port are both 9999"),
        ({"port_offset": 50000, "kafka_controller_port": 1, "thrift_port": 20000}, r"the last port is 65535"),
        ({"profile": "fast"}, r"LOGPIPE_PROFILE=fast: .*'memory' or 'durable'"),
        ({"replay_schedule": "99 99 * * *"}, r"LOGPIPE_REPLAY_SCHEDULE=99 99 \* \* \*: .*a cron expression"),
        ({"replay_schedule": "@daily"}, r"LOGPIPE_REPLAY_SCHEDULE=@daily: .*a cron expression"),
        ({"timezone": "Mars/Olympus"}, r"LOGPIPE_TIMEZONE=Mars/Olympus: .*no time zone"),
        ({"max_line_bytes": 2 << 20}, r"LOGPIPE_MAX_LINE_BYTES=2097152: .*less than or equal to 2031616"),
        ({"window_s": 60, "slide_s": 25}, r"slide_s is 25, expected a divisor of window_s, 60"),
        ({"windows_time": "departure"}, r"LOGPIPE_WINDOWS_TIME=departure: .*'arrival' or 'event'"),
        (
            {"airflow_users": "ann:boss"},
            r"LOGPIPE_AIRFLOW_USERS=ann:boss: 'ann:boss' is no user.*viewer, operator",
        ),
        ({"airflow_users": "ann:viewer,ann:admin"}, r"ann is named twice"),
        ({"airflow_users": "admin:admin"}, r"admin is named twice"),
        ({"airflow_users": "../x:viewer"}, r"'../x:viewer' is no user"),
        ({"hdfs_logs_dir": "logs"}, r"hdfs_logs_dir is logs, expected an absolute path"),
        ({"hdfs_logs_dir": "/user/_logs"}, r"hdfs_logs_dir is /user/_logs, .*begin with _"),
        (
            {"hdfs_windows_dir": "/user/bigdata/apache_logs/w"},
            r"hdfs_windows_dir, .*is inside of hdfs_logs_dir",
        ),
        ({"kerberos_principal": "bigdata"}, "LOGPIPE_KERBEROS_PRINCIPAL=bigdata: "),
        (
            {"kerberos_principal": "bigdata@A.ORG"},
            "LOGPIPE_KERBEROS_PRINCIPAL is bigdata@A.ORG, LOGPIPE_KERBEROS_KEYTAB is empty: set both",
        ),
        ({"pace": "fast"}, "LOGPIPE_PACE=fast: "),
        ({"hdfs_user": "a/b"}, "LOGPIPE_HDFS_USER=a/b: "),
        ({"kafka_bootstrap": "kafka1"}, "LOGPIPE_KAFKA_BOOTSTRAP=kafka1: expected host:port"),
        (
            {"kafka_bootstrap": "k:1;l:2"},
            "LOGPIPE_KAFKA_BOOTSTRAP=k:1;l:2: .*more with commas",
        ),
        ({"webhdfs_url": "nn1:9870"}, "LOGPIPE_WEBHDFS_URL=nn1:9870: expected http://host:port"),
        ({"webhdfs_url": "https://nn1"}, "LOGPIPE_WEBHDFS_URL=https://nn1: expected http://host:port"),
        (
            {"kerberos_principal": "web/host@A.ORG", "kerberos_keytab": "/k"},
            "that is user web, and LOGPIPE_HDFS_USER is bigdata: let both be the same user",
        ),
    ],
)
def test_an_error_names_the_variable_and_the_value(values, message):
    with pytest.raises(settings.SettingsError, match=message):
        settings.parse(**values)


def test_the_table_in_the_docs_is_what_the_settings_are():
    assert (settings.PROJECT_DIR / "docs" / "settings.md").read_text() == table()


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "my-machine", "localhost.example.org"])
def test_a_host_that_others_reach_has_to_be_asked_for_by_name(host):
    with pytest.raises(
        settings.SettingsError, match=f"LOGPIPE_HOST is {host}.*LOGPIPE_LISTEN_BEYOND_LOOPBACK=1"
    ):
        settings.parse(host=host)
    assert settings.parse(host=host, listen_beyond_loopback=True).bind_address == host


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.5.6", "::1"])
def test_loopback_needs_no_word(host):
    assert settings.parse(host=host).process_host.endswith("/host.sock")


@pytest.mark.parametrize("name", ["PORT_OFSET", "STATEDIR", "KEEP_DAY"])
def test_a_setting_that_is_misspelt_is_refused(name, monkeypatch):
    monkeypatch.setenv(f"LOGPIPE_{name}", "1")
    with pytest.raises(settings.SettingsError, match=rf"LOGPIPE_{name} is no setting, and LOGPIPE_\w+ is"):
        settings.load.__wrapped__()


def test_what_is_no_setting_is_no_error(monkeypatch):
    for name in ("TARGET", "CLUSTER_KEYTAB", "AGENT", "NETCAT_MAX_LINE_LENGTH", "STARTED_AS", "UID"):
        monkeypatch.setenv(f"LOGPIPE_{name}", "1")
    settings.load.__wrapped__()


def test_no_port_is_one_that_the_system_gives_to_connections():
    """From 32768 on, Linux takes ports for outgoing connections, and one may stand in a listener's way."""
    conf = settings.Settings(_env_file=None)
    ports = {name: getattr(conf, name) for name in settings.Settings.model_fields if name.endswith("_port")}
    assert {name: port for name, port in ports.items() if port >= 32768} == {}
