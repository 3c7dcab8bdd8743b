"""Secrets in URLs are found, shown nowhere, and refused where they would be kept."""

import re

import pytest

from logpipe.airflow.operators.params import replay_params
from logpipe.settings import parse
from logpipe.settings.redaction import redacted, secret_in, secret_pattern

SECRETS = [
    "https://me:hidden@host/a.gz",
    "ftp://:hidden@host:21/a.gz",
    "https://b.s3.amazonaws.com/a.gz?X-Amz-Date=hidden&X-Amz-Signature=hidden",
    "https://host/a.gz?part=1&sig=hidden&sv=2026",
    "https://host/a.gz?SIG=hidden",
    "https://host/a.gz?access_token=hidden#part",
    "https://host/a.gz?AWSAccessKeyId=hidden&Expires=1",
    "https://host/a.gz?api%5Fkey=hidden",
    "https://host/a.gz?x=1;Signature=hidden",
    "https://host/a.gz#access_token=hidden",
]
PLAIN = ["https://host/a.gz", "ftp://me@host/a.gz", "https://host/a.gz?date=2026-11-29&part=3&design=x"]


@pytest.mark.parametrize("url", SECRETS)
def test_a_secret_is_found_and_not_shown(url: str) -> None:
    assert secret_in(url)
    assert re.search(secret_pattern(), url)
    assert "hidden" not in redacted(f"GET {url} failed, and so did '{url}'")


@pytest.mark.parametrize("url", PLAIN)
def test_what_is_no_secret_stays(url: str) -> None:
    assert not secret_in(url)
    assert not re.search(secret_pattern(), url)
    assert redacted(url) == url.replace("me@", "***@")


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        *((url, False) for url in SECRETS),
        *((url, True) for url in PLAIN),
        ("ftp://localhost:2121/other.gz", True),
        ("ftp://localhost:22/other.gz", False),
        ("http://127.0.0.1/a", False),
        ("http://me@10.0.0.1/a", False),
        ("http://[::1]/a", False),
        ("http://169.254.169.254/a", False),
        ("http://100.example.org/a", True),
        ("file://localhost/var/log/a.log", True),
    ],
)
def test_the_form_refuses_what_can_be_told_by_its_looks(url: str, taken: bool) -> None:
    pattern = replay_params(parse(source_hosts="public"))["url"].schema["pattern"]
    assert bool(re.search(pattern, url)) is taken


def test_the_form_leaves_a_list_of_hosts_to_who_can_look_names_up() -> None:
    pattern = replay_params(parse(source_hosts="public,10.0.0.0/8"))["url"].schema["pattern"]
    assert re.search(pattern, "http://10.0.0.1/a")
