"""A line of each server's documentation, and what it says."""

import subprocess
import sys

import polars as pl
import pytest

from logpipe.formats.columns import Columns
from logpipe.formats.compiler import compile_format
from logpipe.formats.detect import detect, take, told
from logpipe.formats.fields import HEADER, FormatError
from logpipe.formats.presets import PRESETS, preset

AT = "[10/Oct/2000:13:55:36 -0700]"
AT_MS = 971211336000
AGENT = "Mozilla/5.0 (X11; Linux x86_64)"
ALB = (
    "https 2018-07-02T22:23:00.186641Z app/my-lb/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 0.086 0.048 0.037 "
    '200 200 0 57 "GET https://www.example.com:443/a?b=c HTTP/1.1" "curl/7.46.0" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 '
    'arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/t/73e2d6bc24d8a067 "Root=1-58337281" '
    '"www.example.com" "arn:aws:acm:us-east-2:123456789012:certificate/1" 1 2018-07-02T22:22:48.364000Z '
    '"authenticate,forward" "-" "-" "10.0.0.1:80" "200" "-" "-" TID_1234abcd'
)
CADDY = (
    '{"level":"info","ts":1646861401.5241024,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":'
    '"127.0.0.1","remote_port":"41342","proto":"HTTP/2.0","method":"GET","host":"localhost","uri":"/a\\"b","headers":'
    '{"User-Agent":["curl/7.82.0"],"Accept":["*/*"]},"tls":{"resumed":false,"version":772,"proto":"h2"}},'
    '"user_id":"","duration":0.000929675,"size":10900,"status":200,"resp_headers":{"Content-Type":["text/html"]}}'
)
TRAEFIK_JSON = (
    '{"ClientAddr":"172.18.0.1:49512","ClientHost":"172.18.0.1","DownstreamContentSize":19,"DownstreamStatus":404,'
    '"Duration":98765,"RequestHost":"a.example","RequestMethod":"GET","RequestPath":"/a?b\\u0026c","StartUTC":'
    '"2023-05-01T10:11:12.123456789Z","TLSVersion":"1.3","request_User-Agent":"curl/7.82.0","time":"2023-05-01T10:11:12Z"}'
)
CLOUDFRONT = (
    "2019-12-04\t21:02:31\tLAX1\t392\t192.0.2.24\tGET\td111.cloudfront.net\t/index.html\t200\t-\t"
    "Mozilla/5.0%20(Windows%20NT%2010.0)\ta=b\t-\tHit\tSOX4xwn4XV6Q4rgb7XiVGOHms_BGlTAC4KyHmureZmBNrjGdRLiNIQ==\t"
    "www.example.com\thttps\t23\t0.001\t-\tTLSv1.2\tECDHE-RSA-AES128-GCM-SHA256\tHit\tHTTP/2.0\t-\t-\t11040\t0.001\t"
    "Hit\ttext/html\t78\t-\t-"
)
NGINX_JSON = (
    '{"time":"2000-10-10T13:55:36-07:00","remote_addr":"::1","host":"a.example","request":"GET /\\"a\\u0016 HTTP/1.1",'
    '"status":"200","body_bytes_sent":"7","request_time":"0.005","http_referer":"","http_user_agent":"a\\\\b",'
    '"ssl_protocol":"TLSv1.3","content_type":"text/html"}'
)
SAYS = {
    "common": (f'h - - {AT} "GET /a HTTP/1.0" 200 2326', {"host": "h", "time_ms": AT_MS, "target": "/a"}),
    "combined": (
        f'h - - {AT} "GET /\\"a HTTP/1.0" 200 - "http://r/" "a \\"b\\" \\xc3\\xa9"',
        {"target": '/\\"a', "referrer": "http://r/", "user_agent": 'a "b" é', "sent_bytes": 0},
    ),
    "vhost_common": (f'v:443 h - - {AT} "GET /a HTTP/1.0" 200 2326', {"vhost": "v", "host": "h"}),
    "vhost_combined": (
        f'v:80 ::1 - ann {AT} "GET /\\"a HTTP/1.0" 200 2326 "-" "{AGENT}"',
        {"vhost": "v", "host": "::1", "target": '/"a', "referrer": None, "user_agent": AGENT},
    ),
    "apache_common": (f'h - - {AT} "GET /\\\\a HTTP/1.0" 200 2326', {"target": "/\\a"}),
    "apache_combined": (f'h - - {AT} "GET /a" 200 2326 "-" "a\\tb"', {"user_agent": "a\tb"}),
    "nginx": (f'h - - {AT} "GET /\\x22a HTTP/1.0" 200 26 "-" "\\xC3\\xA9"', {"target": '/"a', "user_agent": "é"}),
    "nginx_json": (
        NGINX_JSON,
        {"host": "::1", "time_ms": AT_MS, "target": '/"a\x16', "user_agent": "a\\b", "latency_us": 5000,
         "referrer": None, "tls_protocol": "TLSv1.3", "content_type": "text/html", "vhost": "a.example"},
    ),
    "caddy": (
        CADDY,
        {"host": "127.0.0.1", "time_ms": 1646861401524, "target": '/a"b', "status": "200", "sent_bytes": 10900,
         "user_agent": "curl/7.82.0", "latency_us": 930, "tls_protocol": "TLSv1.3", "content_type": "text/html"},
    ),
    "traefik": (
        f'h - ann {AT} "GET /a HTTP/1.1" 404 19 "-" "a \\ "b"" 17 "router@docker" "http://10.0.0.2:80" 4ms',
        {"latency_us": 4000, "user_agent": 'a \\ "b"', "status": "404"},
    ),
    "traefik_json": (
        TRAEFIK_JSON,
        {"time_ms": 1682935872123, "target": "/a?b&c", "latency_us": 99, "tls_protocol": "TLSv1.3", "status": "404"},
    ),
    "iis": (
        "2000-10-10 20:55:36 10.0.0.5 GET /a.aspx b=c 443 - 10.0.0.9 Mozilla/5.0+(Windows+NT+10.0) - 200 0 0 62",
        {"time_ms": AT_MS, "target": "/a.aspx?b=c", "host": "10.0.0.9", "latency_us": 62000,
         "user_agent": "Mozilla/5.0 (Windows NT 10.0)", "referrer": None},
    ),
    "aws_alb": (
        ALB,
        {"host": "192.168.131.39", "time_ms": 1530570180186, "latency_us": 171000, "tls_protocol": "TLSv1.2",
         "sent_bytes": 57, "vhost": "www.example.com", "user_agent": "curl/7.46.0"},
    ),
    "cloudfront": (
        CLOUDFRONT,
        {"time_ms": 1575493351000, "target": "/index.html?a=b", "user_agent": "Mozilla/5.0 (Windows NT 10.0)",
         "vhost": "www.example.com", "latency_us": 1000, "content_type": "text/html", "sent_bytes": 392},
    ),
}  # fmt: skip
# Formats of one server are taken for those of any: nothing in a line tells them apart.
TAKEN = {"apache_common": "common", "apache_combined": "combined", "nginx": "combined"}


@pytest.mark.parametrize("name", PRESETS)
def test_what_a_line_says(name: str) -> None:
    line, says = SAYS[name]
    parsed = preset(name).parse_line(line.encode())
    assert parsed.reason is None
    assert {key: getattr(parsed, key) for key in says} == says
    (row,) = Columns(preset(name)).parse(pl.Series([line.encode()])).rows(named=True)
    assert row == {key: getattr(parsed, key) for key in (*preset(name).columns, "reason")}


@pytest.mark.parametrize("name", PRESETS)
def test_it_is_detected(name: str) -> None:
    line = SAYS[name][0].encode()
    assert detect([line] * 9 + [b"\x16\x03 garbage"]).name == TAKEN.get(name, name)


def test_a_line_of_fields_is_taken_at_its_word() -> None:
    fields = "#Fields: date time c-ip cs-method cs-uri-stem sc-status"
    lines = [b"#Version: 1.0", fields.encode(), b"2000-10-10 20:55:36 10.0.0.9 GET /a 200"]
    found = detect(lines)
    assert found.name == fields
    parsed = [found.format.parse_line(line) for line in lines]
    assert [each.reason for each in parsed] == [HEADER, HEADER, None]
    assert Columns(found.format).parse(pl.Series(lines))["reason"].to_list() == [HEADER, HEADER, None]


def test_what_is_kept_of_an_error_has_no_line_of_a_log_whose_addresses_are_not() -> None:
    with pytest.raises(FormatError, match=r"203\.0\.113\.7") as raised:
        take("caddy", [b"203.0.113.7 and so on"])
    assert "203.0.113.7" in told(raised.value, "keep")
    assert "203.0.113.7" not in told(raised.value, "hash")
    assert "caddy" in told(raised.value, "hash")


def test_what_does_not_fit_names_a_line_and_what_would() -> None:
    lines = [SAYS["caddy"][0].encode()] * 3
    with pytest.raises(
        FormatError, match=r"combined reads 0 of the first 3 lines.*\{\"level.*that fit: caddy"
    ):
        take("combined", lines)
    with pytest.raises(FormatError, match=r"hello.*No preset fits .*LogFormat"):
        detect([b"hello", b"", b"world"])
    with pytest.raises(FormatError, match="no line yet"):
        detect([b""])
    assert str(take("auto", lines)) == str(take("caddy", lines)) == "caddy (reads 3 of the first 3 lines)"


def test_what_was_taken_says_what_it_has_not() -> None:
    """A variable of nginx that is misspelt may be one of the user's own."""
    said = str(take("$remote_adr [$time_local] $status", [f"h {AT} 200".encode()]))
    assert said.endswith("(reads 1 of the first 1 lines; it has no host, method, target, sent_bytes)")


WRONG = {
    "": "Known are common, combined",
    "comined": "'comined' is unknown.*combined",
    "%h %t %Y": r"%Y at character 7 is unknown; known are %A, %B",
    '%h %t "%{Referer"': r"at character 8, '%{Referer\"' is no directive",
    "%h %b": "has no time",
    "%t%h%u": "between %h and %u stands nothing",
    "%{%Y-%m}t %h": "lacks %d, %H, %M, %S",
    "%{%Y-%q}t %h": "has %q, which is not read",
    "%t %{h}T": "unit 'h', known are s, ms, us",
    "$remote_addr [$time_local] $ $status": r"the \$ at character 28",
    "$time_local $remote_addr$status": r"between \$remote_addr and \$status",
    "log_format main escape=xml '$time_local $status';": "escape=xml is unknown; known are default, json, none",
    "log_format main '$time_local $status": "is no string in quotes",
    "#Fields:": "names no fields",
    "#Fields: c-ip date": "lacks %H, %M, %S",
    '{"host": "a"}': "one time is needed",
    '{"time_s": "at", "agent": "a"}': "'agent' is no field: known are host",
    '{"time_s": "at", "host": "a..b"}': "host stands at 'a..b'",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_a_wrong_format_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        compile_format(text)


SAME = {
    'LogFormat "%h %l %u %t \\"%r\\" %>s %b" common': '%h %l %u %t "%r" %>s %b',
    'log_format main \'$remote_addr [$time_local] \'\n  \'"$request" $status\';': '$remote_addr [$time_local] "$request" $status',
}  # fmt: skip


@pytest.mark.parametrize(("directive", "text"), SAME.items())
def test_a_directive_is_taken_as_it_stands_in_the_configuration(directive: str, text: str) -> None:
    assert compile_format(directive).parts == compile_format(text).parts


@pytest.mark.parametrize(
    "at", ["2000-10-10T20:55:36+00:00", "2000-10-10T20:55:36Z", "2000-10-10T13:55:36.5-0700"]
)
def test_a_time_that_has_in_it_what_ends_it(at: str) -> None:
    format_ = compile_format("$time_iso8601:$status:$time_local:$remote_addr")
    parsed = format_.parse_line(f"{at}:200:01/Jan/2001:00:00:00 +0000:h".encode())
    assert (parsed.reason, parsed.status, parsed.host) == (None, "200", "h")
    assert parsed.time_ms == AT_MS + 500 * at.count(".")


def test_the_definition_needs_no_polars() -> None:
    """Who only looks at a log's first lines does not pay for it."""
    program = "import sys, logpipe.formats.detect; sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
