"""Has Airflow load the page: its plugin loader takes loose files of this folder, and no packages."""

from logpipe.airflow.page.plugin import LogpipePagePlugin

__all__ = ["LogpipePagePlugin"]
