"""Where reports of days stand inside Airflow: as on HDFS, so that links between them work in both."""

from logpipe.contracts.days import DAY
from logpipe.contracts.sealed import REPORT_FILE, REPORT_PAGE

EXAMPLE = f"26-11-23/{REPORT_PAGE}"
# A report says in itself, by a hash, which style is its own.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'; sandbox allow-popups allow-top-navigation-by-user-activation"
)


def is_one(day: str, name: str) -> bool:
    """Whether it is a file of a day's report."""
    return DAY.fullmatch(day) is not None and name in (REPORT_PAGE, REPORT_FILE)


def path_of(day: str) -> str:
    """The address of a day's report below Airflow's ``base_url``; the day as ``%y-%m-%d``."""
    return f"logpipe/reports/{day}/{REPORT_PAGE}"
