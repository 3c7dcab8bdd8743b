"""What each role may do in Kafka, and the bundled broker's authority, keys and users.

``python -m logpipe.hosts.kafka_roles`` prints the rules as commands of `kafka-acls`, for somebody else's
Kafka; with ``--apply`` it gives them, and the users' passwords, to the Kafka that the settings name, as its
user ``logpipe-admin``.
"""

import secrets
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote

from logpipe import settings as project_settings
from logpipe.clients.kafka import READER_GROUP, Kafka, LoginRefusedError, Rule, TopicError
from logpipe.hosts import certificates
from logpipe.hosts.layout import write_private
from logpipe.settings import Settings
from logpipe.settings.kafka_access import (
    ADMIN,
    ADMIN_USER,
    ROLES,
    Role,
    asks_for_password,
    password,
    user,
)

AUTHORITY_KEY = "ca.key"
AUTHORITY = "ca.pem"
READY_TIMEOUT_S = 180.0
_POLL_S = 0.5
_LOOKS = ("read", "describe", "describe_configs")


def rules(settings: Settings) -> tuple[Rule, ...]:
    """What each role may do; nothing else, and nobody may delete."""
    topic, group = settings.topic, settings.consumer_group
    outputs = (settings.windows_topic, settings.dead_letters_topic)

    def on_topic(role: Role, name: str, *operations: str) -> Rule:
        return Rule(user(settings, role), "topic", name, operations)

    def on_group(role: Role, name: str, *operations: str, is_prefix: bool = False) -> Rule:
        return Rule(user(settings, role), "group", name, operations, is_prefix)

    return (
        on_topic("agent1", topic, "write", "describe"),
        on_topic("agent2", topic, "read", "describe"),
        on_group("agent2", group, "read"),
        on_topic("windows", topic, "read", "describe"),
        on_group("windows", settings.windows_topic, "read", is_prefix=True),
        *(on_topic("windows", name, "create", "write", "describe", "describe_configs") for name in outputs),
        *(on_topic("reader", name, *_LOOKS) for name in (topic, *outputs)),
        *(on_group("reader", name, "describe") for name in (group, READER_GROUP)),
        on_topic("airflow", topic, "create", *_LOOKS),
        *(on_group("airflow", name, "describe") for name in (group, READER_GROUP)),
    )


def commands(settings: Settings) -> list[str]:
    """The rules as commands of Kafka's own tool, without address and login."""
    return [
        " ".join(
            [
                "kafka-acls --add",
                f"--allow-principal {quote(f'User:{rule.user}')}",
                *(f"--operation {_word(operation)}" for operation in rule.operations),
                f"--{rule.kind} {quote(rule.name)}",
                *(["--resource-pattern-type prefixed"] if rule.is_prefix else []),
            ]
        )
        for rule in rules(settings)
    ]


def _word(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))


def make_access(folder: Path, brokers: dict[str, Sequence[str]]) -> None:
    """Make the authority, each broker's key, and each role's password, but for those that are there.

    Args:
        folder: gets them, a file each.
        brokers: by name the hosts that a broker is reached by.
    """
    authority = folder / AUTHORITY_KEY, folder / AUTHORITY
    certificates.authority(*authority)
    for name, hosts in brokers.items():
        certificates.server(folder / f"{name}.pem", name, hosts, *authority)
    for role in (*ROLES, ADMIN):
        if not (file := folder / f"{role}.password").exists():
            write_private(file, secrets.token_urlsafe(24))


def first_user(word: str) -> str:
    """Arguments that have Kafka's storage formatted with its first user, a line each."""
    return f"--add-scram\nSCRAM-SHA-512=[name={ADMIN_USER},password={word}]\n"


def super_users(brokers: Iterable[str]) -> str:
    """Those whom no rule binds: the first user, and the controllers by their certificates."""
    return ";".join([f"User:{ADMIN_USER}", *(f"User:CN={name}" for name in brokers)])


def let_in(settings: Settings) -> None:
    """Give the bundled broker the roles' users and rules; nothing where it asks nobody.

    Raises:
        TopicError: no broker does so in time, or it refuses.
    """
    if not asks_for_password(settings):
        return
    kafka = Kafka.of(settings, role=ADMIN)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            kafka.set_passwords({user(settings, role): password(settings, role) for role in ROLES})
            kafka.allow(rules(settings))
            return
        except LoginRefusedError:
            raise
        except TopicError:  # the controllers have not chosen one of them yet
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL_S)


def main(arguments: list[str]) -> int:
    """Print the rules, or apply them; the result is the exit status."""
    current = project_settings.load()
    if arguments != ["--apply"]:
        print("\n".join(commands(current)))
        return 0
    try:
        let_in(current)
    except TopicError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
