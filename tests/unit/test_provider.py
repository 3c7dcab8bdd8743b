"""What Airflow reads of the package is what the package has."""

from importlib import import_module

from airflow.providers_manager import ProvidersManager

from logpipe.airflow.provider import get_provider_info
from logpipe.hosts.services import SERVICES
from tests.public_names import PAGE, page

FORMS = get_provider_info()["connection-types"]


def test_each_form_is_that_of_its_hook():
    for form in FORMS:
        module, _, name = form["hook-class-name"].rpartition(".")
        hook = getattr(import_module(module), name)
        assert (hook.conn_type, hook.hook_name) == (form["connection-type"], form["hook-name"])


def test_the_services_connections_are_of_types_that_are_known():
    types = {service.connection.conn_type for service in SERVICES if service.connection}
    assert types <= {form["connection-type"] for form in FORMS} | {"kafka", "webhdfs"}


def test_airflow_knows_the_package_its_connections_and_its_links():
    known = ProvidersManager()
    assert "logpipe" in known.providers
    assert {form["connection-type"] for form in FORMS} <= set(known.hooks)
    assert known.field_behaviours["logpipe_replayer"]["placeholders"]["port"] == "9010"
    assert "logpipe.airflow.operators.report.ReportLink" in known.extra_links_class_names


def test_the_page_of_public_names_is_what_the_docstrings_say():
    assert PAGE.read_text() == page(), "`make docs` writes it anew"
