"""Waits for services that are away, and tells them from errors that waiting does not mend."""

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaException
from py4j.protocol import Py4JError

from logpipe.clients.kafka import TopicError
from windows.errors import WindowsError

log = logging.getLogger("windows")
T = TypeVar("T")

INTERVAL_S = 1.0

# Words in the errors of services that come back.
_PASSING = (
    "ConnectException", "SafeModeException", "RetriableException", "StandbyException", "NoRouteToHost",
    "SocketTimeoutException", "SocketException", "EOFException", "ClosedChannelException", "TimeoutException",
    "DisconnectException", "BrokerNotAvailable", "NotLeaderOrFollower", "LeaderNotAvailable",
    "NetworkException", "UnknownTopicOrPartition", "could only be written to 0 of the",
    "BlockMissingException", "Could not obtain block", "All datanodes", "Failed to replace a bad datanode",
    "RecoveryInProgressException", "Unable to close file because", "Connection refused", "Connection reset",
    "Broken pipe", "_MSG_TIMED_OUT", "_TRANSPORT", "_TIMED_OUT",
)  # fmt: skip


def is_passing(error: BaseException) -> bool:
    """Tell whether an error is of a service that is away for a while."""
    if isinstance(error, KafkaException):
        return not error.args[0].fatal()
    if isinstance(error, WindowsError):
        return False
    if isinstance(error, TopicError | TimeoutError):
        return True
    text = f"{type(error).__name__}: {error}"
    return any(word in text for word in _PASSING)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for the log."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class Patience:
    """Asks services until they answer, or until the job is told to stop."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._said = ""

    def request_stop(self, *_: Any) -> None:
        """Ask for a stop; safe in a signal handler."""
        self._stop.set()

    def stopping(self) -> bool:
        """Tell whether a stop was asked for."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait; True at once when a stop is asked for."""
        return self._stop.wait(seconds)

    def ask(self, service: str, question: Callable[[], T | None], waiting: str = "") -> T | None:
        """Ask until there is an answer.

        Args:
            service: What is asked, for the log.
            question: Gives the answer, or None when there is none yet.
            waiting: Said when there is none.

        Returns:
            The answer; None when the job is told to stop before.

        Raises:
            WindowsError: the service refuses, and waiting does not help.
        """
        while not self._stop.is_set():
            try:
                answer = question()
                if answer is not None:
                    self._said = ""
                    return answer
                self._say(waiting)
            except (OSError, TopicError, KafkaException, Py4JError) as error:
                if not is_passing(error):
                    raise WindowsError(f"{service} refuses: {first_line(error)}") from error
                self._say(f"{service} does not answer, waiting for it: {first_line(error)}")
            self._stop.wait(INTERVAL_S)
        return None

    def _say(self, text: str) -> None:
        """Log a wait once, not every second."""
        if text != self._said:
            log.warning("%s", text)
            self._said = text
