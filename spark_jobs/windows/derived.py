"""What follows from a field: a key for each distinct value; one that comes often is looked at once."""

import re
from functools import cache
from typing import Any

import polars as pl

from logpipe.windows.latency import buckets

_AGENT_CHARS = 1_000  # more tells no more
BOT, NO_BOT = "bot", "no bot"
_SITE = r"^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#@]*@)?(\[[0-9a-fA-F:.]+\]|[^/?#:@]+)"
# The first that a content type begins with.
_KINDS = {
    "page": re.compile(r"text/html|application/xhtml"),
    "style": re.compile("text/css"),
    "script": re.compile(r"(application|text)/(x-)?(javascript|ecmascript)|application/wasm"),
    "data": re.compile(r"(application|text)/([a-z.-]+\+)?(json|xml|csv|yaml|x-ndjson)"),
    "image": re.compile("image/"),
    "font": re.compile(r"font/|application/(x-)?font|application/vnd\.ms-fontobject"),
    "media": re.compile("(audio|video)/"),
    "text": re.compile("text/"),
}


def site(referrers: pl.Series) -> pl.Series:
    """The host of a referrer; null where it has none."""
    return referrers.str.extract(_SITE).str.to_lowercase()


def kind(content_types: pl.Series) -> pl.Series:
    """What sort of content it is: of `_KINDS`, or ``other``."""
    texts = content_types.str.to_lowercase()
    found = [next((name for name, begin in _KINDS.items() if begin.match(text)), "other") for text in texts]
    return pl.Series(found, dtype=pl.String)


def family(agents: pl.Series) -> pl.Series:
    """The agent's family, such as ``Firefox``, ``Other`` where none is known."""
    found = [_parsed(agent).user_agent for agent in agents]
    return pl.Series([each.family if each else "Other" for each in found], dtype=pl.String)


def system(agents: pl.Series) -> pl.Series:
    """The operating system's family, such as ``Windows``, ``Other`` where none is known."""
    found = [_parsed(agent).os for agent in agents]
    return pl.Series([each.family if each else "Other" for each in found], dtype=pl.String)


def bucket(latencies_us: pl.Series) -> pl.Series:
    """The bucket of a latency, see `logpipe.windows.latency`."""
    return buckets(latencies_us).cast(pl.String)


def bot(agents: pl.Series) -> pl.Series:
    """Whether the agent calls itself one of the crawlers that are known."""
    is_one = agents.str.contains(_crawlers())
    return pl.select(pl.when(is_one).then(pl.lit(BOT)).otherwise(pl.lit(NO_BOT))).to_series()


def _parsed(agent: str) -> Any:
    from ua_parser import Domain, parser  # its rules take a moment, which a log without agents need not spend

    return parser(agent[:_AGENT_CHARS], Domain.USER_AGENT | Domain.OS)  # it keeps what comes often


@cache
def _crawlers() -> str:
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    return "|".join(each["pattern"] for each in CRAWLER_USER_AGENTS_DATA)
