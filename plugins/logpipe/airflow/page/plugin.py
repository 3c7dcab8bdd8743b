"""Airflow's plugin: where the page stands in Airflow's own, and the app that serves it.

Checked against Airflow 3.3.2: relative addresses work under a ``base_url`` with a path, absolute ones do not;
each view needs a ``url_route`` of its own, and one invalid entry hides the whole plugin.
"""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

NAME = "logpipe"
_ICON = {"icon": f"{NAME}/static/icon.svg", "icon_dark_mode": f"{NAME}/static/icon-dark.svg"}


class LogpipePagePlugin(AirflowPlugin):
    """An entry *Logs* at the top level of the navigation, and a tab on DAGs and their runs."""

    name = NAME
    external_views = [  # noqa: RUF012 - Airflow's own form
        {
            "name": "Logs",
            "href": f"{NAME}/",
            "url_route": NAME,
            "destination": "nav",
            "nav_top_level": True,
            **_ICON,
        },
        {
            "name": "Logs",
            "href": f"{NAME}/?dag={{DAG_ID}}",
            "url_route": f"{NAME}-dag",
            "destination": "dag",
            **_ICON,
        },
        {
            "name": "Logs",
            "href": f"{NAME}/?dag={{DAG_ID}}&run={{RUN_ID}}",
            "url_route": f"{NAME}-run",
            "destination": "dag_run",
            **_ICON,
        },
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """The app; made when the API server asks for it, so that no other process of Airflow pays for it."""
        from logpipe.airflow.page.app import make_app

        return [{"app": make_app(), "url_prefix": f"/{NAME}", "name": NAME}]

    @fastapi_apps.setter
    def fastapi_apps(self, _: Any) -> None:
        """Airflow's base class has a list of this name."""
