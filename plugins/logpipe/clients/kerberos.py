"""Kerberos over HTTP (SPNEGO, RFC 4559): a proof of who asks, made from a keytab.

The keys come from the file each time that a ticket ends, so nothing has to be renewed and nothing ends after
the seven days that a ticket may be renewed for. MIT's library does the work; ``gssapi`` is not among the
project's packages (decision 0013).
"""

import os
import re
import sys
import threading
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from logpipe.clients.errors import ClientError, RefusedError, UnreachableError
from logpipe.settings import Settings

DEBIANS = "/usr/lib/python3/dist-packages"  # for its Python 3.11, which the project's is as well
_SPNEGO = "1.3.6.1.5.5.2"
# MIT's words (its codes are numbered anew on the way through SPNEGO): the way out, and whether time may help.
_WAYS_OUT = {
    "not found in Kerberos database": (
        "the KDC knows no such name: see LOGPIPE_KERBEROS_PRINCIPAL, and by which name the service is asked",
        False,
    ),
    "No credentials cache found": ("the keytab holds no key of it: `klist -k` shows whose it holds", False),
    "no suitable keys": ("the keytab holds no key of it: `klist -k` shows whose it holds", False),
    "integrity check failed": ("the keys were changed since the keytab was made: have it made anew", False),
    "Preauthentication failed": ("the keys were changed since the keytab was made: have it made anew", False),
    "entry in database has expired": ("its entry at the KDC has expired: have it renewed", False),
    "credentials have been revoked": ("it is locked at the KDC: have it unlocked", False),
    "Password has expired": ("its keys have expired: have the keytab made anew", False),
    "Clock skew": ("this machine's clock and the KDC's differ too much: set both by NTP", True),
    "Cannot contact any KDC": ("see the KDC's address in krb5.conf, and whether it runs", True),
    "Cannot find KDC": ("krb5.conf names no KDC of this realm", False),
}
_AGAIN = "see krb5.conf, the keytab and the KDC's log"
_WAIT_S = 20.0
_lock = threading.Lock()


class KerberosError(ClientError):
    """There is no proof of who asks; the message names principal and keytab, and says what to mend."""


class KerberosRefusedError(KerberosError, RefusedError):
    """Nor will there be one until somebody has mended that."""


class KerberosUnreachableError(KerberosError, UnreachableError):
    """There is none now: no KDC answers, or the clocks differ."""


@dataclass(frozen=True, slots=True)
class Kerberos:
    """Who asks.

    Attributes:
        principal: ``user@REALM``, or ``user/host@REALM``.
        keytab: path of the file with its keys.
    """

    principal: str
    keytab: str

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Who the pipeline is; None where services take anybody's word (simple authentication)."""
        if not settings.kerberos_principal:
            return None
        return cls(settings.kerberos_principal, str(settings.kerberos_keytab))

    def proof(self, host: str) -> str:
        """The value of a request's header ``Authorization`` for the HTTP service of a host. Blocks.

        Raises:
            KerberosRefusedError: the keytab can't be read, or does not fit; ``gssapi`` is missing.
            KerberosUnreachableError: no KDC answers, which takes up to a minute, or the clocks differ.
        """
        gssapi = _gssapi()
        if not os.access(self.keytab, os.R_OK):
            raise KerberosRefusedError(
                f"Keytab {self.keytab} of {self.principal} is not there, or can't be read by user "
                f"{os.getuid()}: see LOGPIPE_KERBEROS_KEYTAB, and the file's owner and mode"
            )
        # One at a time: the first asks the KDC (for a minute, where it hangs), the others find its ticket.
        if not _lock.acquire(timeout=_WAIT_S):
            raise KerberosUnreachableError(
                f"Kerberos: another login of this process has waited {_WAIT_S:.0f} s for the KDC of "
                f"{self.principal}: {_WAYS_OUT['Cannot contact any KDC'][0]}"
            )
        try:
            login = gssapi.Credentials(
                name=gssapi.Name(self.principal, gssapi.NameType.kerberos_principal),
                usage="initiate",
                store={"client_keytab": f"FILE:{self.keytab}", "ccache": f"MEMORY:{self.principal}"},
            )
            context = gssapi.SecurityContext(
                name=gssapi.Name(f"HTTP@{host}", gssapi.NameType.hostbased_service),
                creds=login,
                usage="initiate",
                mech=gssapi.OID.from_int_seq(_SPNEGO),
            )
            token = context.step()
        except gssapi.exceptions.GSSError as error:
            raise self._refusal(host, error) from None
        finally:
            _lock.release()
        return f"Negotiate {b64encode(token).decode()}"

    def _refusal(self, host: str, error: Any) -> KerberosError:
        words = ", ".join(re.findall(r"Minor \(\d+\): (.*)", str(error))) or str(error)
        known = (answer for part, answer in _WAYS_OUT.items() if part in words)
        way_out, passes = next(known, (_AGAIN, False))
        kind = KerberosUnreachableError if passes else KerberosRefusedError
        return kind(
            f"Kerberos gives {self.principal} (keytab {self.keytab}) no proof for HTTP/{host}: {words}: "
            f"{way_out}"
        )


def of_hadoop(settings: Settings) -> dict[str, Any]:
    """How an `HttpService` of Hadoop's is asked: who asks, and whose certificates are trusted."""
    return {"kerberos": Kerberos.of(settings), "ca_file": settings.hadoop_ca_file}


@cache
def _gssapi() -> Any:
    with suppress(ImportError):
        import gssapi

        return gssapi
    sys.path.append(DEBIANS)  # for this import alone: nothing else is to be found there
    try:
        import gssapi
    except ImportError as error:
        raise KerberosRefusedError(
            f"LOGPIPE_KERBEROS_PRINCIPAL is set, and Python has no gssapi ({error}): install Debian's "
            "python3-gssapi; elsewhere `.venv/bin/uv pip install gssapi`, which takes a compiler and MIT "
            "Kerberos' headers"
        ) from None
    finally:
        sys.path.remove(DEBIANS)
    return gssapi
