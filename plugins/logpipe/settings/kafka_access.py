"""How the pipeline's programs log in to Kafka, in the words of each kind of client: said here only.

Each program has a role. `LOGPIPE_KAFKA_USER` and `LOGPIPE_KAFKA_PASSWORD_FILE` may say `{role}`, so that each
role is a user of its own; without, all are the same one. A password is read where it is needed, and stands in
no command line, no environment and no setting.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from logpipe.settings import Settings

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]
Role = Literal["agent1", "agent2", "windows", "reader", "airflow", "admin"]

# What each does is said in hosts/kafka_roles.py. `admin` is the bundled broker's own, and makes the others.
ROLES: tuple[Role, ...] = ("agent1", "agent2", "windows", "reader", "airflow")
ADMIN: Role = "admin"
ADMIN_USER = "logpipe-admin"
FOLDER = "kafka-access"  # in the state folder: the bundled broker's authority, key and passwords

SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"
_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": SCRAM_MODULE,
    "SCRAM-SHA-512": SCRAM_MODULE,
}


class KafkaAccessError(ValueError):
    """A login to Kafka cannot be made; the message names the file, what is wrong with it and what to do."""


def asks_for_password(settings: "Settings") -> bool:
    """Whether Kafka wants to know who asks."""
    return settings.kafka_security_protocol.startswith("SASL_")


def is_encrypted(settings: "Settings") -> bool:
    """Whether the way to Kafka is TLS."""
    return settings.kafka_security_protocol.endswith("SSL")


def user(settings: "Settings", role: Role) -> str:
    """A role's user."""
    return ADMIN_USER if role == ADMIN else settings.kafka_user.replace("{role}", role)


def password_file(settings: "Settings", role: Role) -> Path:
    """The file that holds a role's password, one line."""
    return Path(settings.kafka_password_file.replace("{role}", role))


def password(settings: "Settings", role: Role) -> str:
    """A role's password.

    Raises:
        KafkaAccessError: the file cannot be read, or does not hold one line.
    """
    path = password_file(settings, role)
    wanted = f"the password of Kafka's user {user(settings, role)} is expected there, on one line"
    way_out = "set LOGPIPE_KAFKA_PASSWORD_FILE to the file that has it"
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise KafkaAccessError(f"{path} cannot be read ({reason}): {wanted}; {way_out}") from None
    if len(lines) != 1 or not lines[0]:
        raise KafkaAccessError(f"{path} holds {len(lines)} lines: {wanted}; {way_out}")
    return lines[0]


def how(settings: "Settings", role: Role) -> str:
    """Whom a role logs in as, for messages; empty when nobody asks."""
    if not asks_for_password(settings):
        return ""
    return (
        f"as user {user(settings, role)} with {settings.kafka_sasl_mechanism}, password from "
        f"{password_file(settings, role)}"
    )


def python_client(settings: "Settings", role: Role) -> dict[str, str]:
    """Configuration of a librdkafka client, address and password in it.

    Raises:
        KafkaAccessError: as `password`.
    """
    found = _any_client(settings)
    if is_encrypted(settings):
        found["ssl.ca.location"] = settings.kafka_ca_file
    if asks_for_password(settings):
        found |= {"sasl.username": user(settings, role), "sasl.password": password(settings, role)}
    return found


def java_client(settings: "Settings", role: Role) -> dict[str, str]:
    """The same for a Java client, to be kept in memory only.

    Raises:
        KafkaAccessError: as `password`.
    """
    found = _any_client(settings)
    if is_encrypted(settings):
        found |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": settings.kafka_ca_file}
    if asks_for_password(settings):
        found["sasl.jaas.config"] = login_module(settings, role)
    return found


def _any_client(settings: "Settings") -> dict[str, str]:
    """What both kinds of client call the same."""
    found = {"bootstrap.servers": settings.kafka_bootstrap}
    if settings.kafka_security_protocol != "PLAINTEXT":
        found["security.protocol"] = settings.kafka_security_protocol
    if asks_for_password(settings):
        found["sasl.mechanism"] = settings.kafka_sasl_mechanism
    return found


def login_module(settings: "Settings", role: Role) -> str:
    """A role's login as Java's JAAS has it, password in it. Raises as `password`."""
    options = {"username": user(settings, role), "password": password(settings, role)}
    return f"{_MODULES[settings.kafka_sasl_mechanism]} required {_options(options)};"


def login_file(settings: "Settings", role: Role) -> str:
    """The text of a file for ``-Djava.security.auth.login.config``. Raises as `password`."""
    return f"KafkaClient {{\n  {login_module(settings, role)}\n}};\n"


def _options(values: Mapping[str, str]) -> str:
    return " ".join(f'{name}="{_escaped(value)}"' for name, value in values.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
