"""Encrypts by Airflow's newest key what its database holds: ``python -m logpipe.airflow.encrypt_anew``.

``airflow rotate-fernet-key`` of Airflow 3.3 fails where a task is deferred: its trigger's arguments stand
there as they are, in JSON. These are passed over here.
"""

from airflow.cli.commands.rotate_fernet_key_command import rotate_items_in_batches
from airflow.models.connection import Connection
from airflow.models.trigger import Trigger
from airflow.models.variable import Variable
from airflow.utils.session import create_session


def main() -> None:
    """All of it in one transaction."""
    encrypted = {
        Connection: Connection.is_encrypted | Connection.is_extra_encrypted,
        Variable: Variable.is_encrypted,
        Trigger: ~Trigger.encrypted_kwargs.startswith("{"),
    }
    with create_session() as session:
        for model, condition in encrypted.items():
            rotate_items_in_batches(session, model, filter_condition=condition)


if __name__ == "__main__":
    main()
