"""What is known of a replay: its specification and its progress."""

import re
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from logpipe.digest import Digest
from logpipe.formats.compiler import compile_format
from logpipe.formats.detect import AUTO
from logpipe.formats.fields import FormatError
from logpipe.identity import MAX_LINES, REPAIR_PREFIX, REPLAY_PATTERN
from logpipe.replayer.addresses import Treatment
from logpipe.replayer.feed import Place
from logpipe.replayer.follow.generation import Generation
from logpipe.replayer.pace import parse_pace
from logpipe.replayer.pin import Pin
from logpipe.replayer.sources import SourceVersion
from logpipe.replayer.urls import Login, SourceUrl
from logpipe.settings import AddressMode
from logpipe.settings.redaction import redacted

State = Literal["running", "done", "failed", "stopped"]
PROFILES = ("memory", "durable")
ADDRESSES = get_args(AddressMode)
_ID = re.compile(REPLAY_PATTERN)


def now_text() -> str:
    """The time now, ISO-8601 UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class ReplaySpec:
    """What was asked for.

    Attributes:
        format: how the lines are read, for `logpipe.formats.compiler.compile_format`, or ``auto``; the first
            lines are held against it. None: Combined Log Format, whatever the lines say.
        addresses: what becomes of clients' addresses before a line is sent, see `logpipe.replayer.addresses`.
        login: is for the source's server: it is never shown, and may change.
    """

    replay_id: str
    url: str
    pace: str
    profile: str
    limit: int | None
    format: str | None = None
    login: Login | None = None
    addresses: AddressMode = "keep"

    @classmethod
    def from_request(cls, values: Any) -> "ReplaySpec":
        """Check a request's body.

        Raises:
            ValueError: a field is missing, unknown or has a value that can't work; names field and value.
        """
        if not isinstance(values, dict):
            raise ValueError(f"the body is {type(values).__name__}, expected a JSON object")
        names = [item.name for item in fields(cls)]
        for name in values:
            if name not in names:
                raise ValueError(f"{name} is not known, expected {', '.join(names)}")
        for name in ("replay_id", "url", "pace", "profile"):
            if not isinstance(values.get(name), str):
                raise ValueError(f"{name} is {values.get(name)!r}, expected a text")
        replay_id, profile, limit = values["replay_id"], values["profile"], values.get("limit")
        if not _ID.fullmatch(replay_id):
            raise ValueError(
                f"replay_id is {replay_id!r}, expected 1 to 200 letters, digits, '.', '_', '+' or '-', "
                "a letter or digit first"
            )
        SourceUrl.parse(values["url"])
        parse_pace(values["pace"])
        if profile not in PROFILES:
            raise ValueError(f"profile is {profile!r}, expected one of {PROFILES}")
        is_count = isinstance(limit, int) and not isinstance(limit, bool) and 1 <= limit <= MAX_LINES
        if limit is not None and not is_count:
            raise ValueError(f"limit is {limit!r}, expected null or a number of lines from 1 to {MAX_LINES}")
        format_ = values.get("format")
        if format_ is not None:
            _check_format(format_, profile)
        addresses: Any = values.get("addresses") or "keep"
        if addresses not in ADDRESSES:
            raise ValueError(f"addresses is {addresses!r}, expected one of {ADDRESSES}")
        login = None if values.get("login") is None else Login.from_json(values["login"])
        return cls(replay_id, values["url"], values["pace"], profile, limit, format_, login, addresses)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, without the login."""
        return {
            "replay_id": self.replay_id,
            "url": self.url,
            "pace": self.pace,
            "profile": self.profile,
            "limit": self.limit,
            "format": self.format,
            "addresses": self.addresses,
        }


def _check_format(text: Any, profile: str) -> None:
    if not isinstance(text, str):
        raise ValueError(f"format is {text!r}, expected null or a text")
    if profile != "durable":
        raise ValueError(
            f"format is {text!r}, expected null in profile {profile}: its lines have no identity, by which "
            "readers would know their format"
        )
    if text != AUTO:
        try:
            compile_format(text)
        except FormatError as error:
            raise ValueError(f"format is {text!r}: {error}") from None


@dataclass(frozen=True, slots=True)
class ReplayRecord:
    """A replay at one moment.

    Every line up to ``place.line`` is settled: acknowledged (in ``digest``) or set aside. A sealed record
    does not change any more.

    Attributes:
        partitions: the topic's when the replay began: `logpipe.identity.partition_of` goes by it. None: not
            asked for yet; 0: an earlier version began it, and Kafka's own partitioner goes on.
        format_taken: what the lines are read as; None: nothing was asked for, or no line was looked at yet.
        treatment: what is done with addresses in the lines: ``digest`` is of what was sent. None: nothing,
            or no line was looked at yet.
        sealed_at: when the lines were found equal everywhere, ISO-8601 UTC; None: they were not yet. One that
            is sealed and not ``done`` was given up half sent.
        given_up_at: when somebody said that nobody will go on with it, ISO-8601 UTC; None: nobody did.
        generation: which file of a followed log it is; None: a replay.
    """

    spec: ReplaySpec
    state: State = "running"
    reason: str | None = None
    digest: Digest = field(default_factory=Digest)
    set_aside: int = 0
    place: Place = field(default_factory=Place)
    version: SourceVersion | None = None
    is_compressed: bool | None = None
    partitions: int | None = None
    format_taken: str | None = None
    treatment: Treatment | None = None
    started_at: str = field(default_factory=now_text)
    updated_at: str = field(default_factory=now_text)
    finished_at: str | None = None
    sealed_at: str | None = None
    given_up_at: str | None = None
    generation: Generation | None = None

    def changed(self, **changes: Any) -> "ReplayRecord":
        """A later record."""
        return replace(self, updated_at=now_text(), **changes)

    @property
    def is_repair(self) -> bool:
        """Whether its lines are another replay's, which counts them."""
        return self.spec.replay_id.startswith(REPAIR_PREFIX)

    def is_given_up(self, before: datetime) -> bool:
        """Whether it stopped or failed, and nobody is waited for who would go on: by word, or since long."""
        has_ended = self.state in ("failed", "stopped") and self.finished_at is not None
        is_old = has_ended and datetime.fromisoformat(str(self.finished_at)) < before
        return is_old or (has_ended and self.given_up_at is not None)

    def is_behind(self, other: "ReplayRecord") -> bool:
        """Whether the other one, of the same replay, knows of more."""
        return self._progress < other._progress

    @property
    def _progress(self) -> tuple[bool, bool, int, bool, bool]:
        is_sealed, is_given_up = self.sealed_at is not None, self.given_up_at is not None
        return is_sealed, self.state == "done", self.place.line, self.partitions is not None, is_given_up

    def to_json(self) -> dict[str, Any]:
        """The record as others see it."""
        return {
            **self.spec.to_json(),
            "url": redacted(self.spec.url),
            "state": self.state,
            "reason": self.reason,
            **self.digest.to_json(),
            "first_line": 1 if self.place.line else None,
            "last_line": self.place.line or None,
            "set_aside": self.set_aside,
            "source_bytes_read": self.place.source_bytes,
            "source_size_bytes": self.version.size_bytes if self.version else None,
            "partitions": self.partitions,
            "format_taken": self.format_taken,
            "treatment": self.treatment.to_json() if self.treatment else None,
            "started_at": self.started_at,
            "updated_at": self.updated_at,
            "finished_at": self.finished_at,
            "sealed_at": self.sealed_at,
            "given_up_at": self.given_up_at,
            **({"generation": self.generation.to_json()} if self.generation else {}),
        }

    def to_file(self) -> dict[str, Any]:
        """The record with what a resume needs on top."""
        return {
            **self.to_json(),
            "url": self.spec.url,
            "resume": {
                "offset_bytes": self.place.offset,
                "is_compressed": self.is_compressed,
                "source_modified_at": self.version.modified_at if self.version else None,
                "is_pinned": self.version is not None,
                "pin_line": self.place.pin.line,
                "pin_offset_bytes": self.place.pin.offset,
                "pin_xxh64": self.place.pin.digest,
            },
        }

    @classmethod
    def from_file(cls, values: dict[str, Any], login: Login | None = None) -> "ReplayRecord":
        """Rebuild what `to_file` gave; the login comes from where it is kept.

        Raises:
            KeyError, TypeError, ValueError: the values are not what `to_file` gives.
        """
        names = [item.name for item in fields(ReplaySpec) if item.name != "login"]
        resume = values["resume"]
        version = SourceVersion(values["source_size_bytes"], resume["source_modified_at"])
        return cls(
            spec=replace(ReplaySpec.from_request({name: values.get(name) for name in names}), login=login),
            state=values["state"],
            reason=values["reason"],
            digest=Digest.from_json(values),
            set_aside=values["set_aside"],
            place=Place(
                values["last_line"] or 0,
                resume["offset_bytes"],
                values["source_bytes_read"],
                Pin(resume["pin_line"], resume["pin_offset_bytes"], resume["pin_xxh64"]),
            ),
            version=version if resume["is_pinned"] else None,
            is_compressed=resume["is_compressed"],
            partitions=values.get("partitions", 0),
            format_taken=values.get("format_taken"),
            treatment=Treatment.from_json(values.get("treatment")),
            started_at=values["started_at"],
            updated_at=values["updated_at"],
            finished_at=values["finished_at"],
            sealed_at=values.get("sealed_at"),
            given_up_at=values.get("given_up_at"),
            generation=Generation.from_json(values["generation"]) if values.get("generation") else None,
        )
