"""The pipeline's DAGs as a bundle, for an Airflow that this package is installed into."""

from typing import Any

from airflow.dag_processing.bundles.local import LocalDagBundle

from logpipe.settings import PROJECT_DIR


class LogpipeDagBundle(LocalDagBundle):
    """The folder of the pipeline's DAGs, wherever it was installed; examples are Airflow's ``load_examples``.

    ``[dag_processor] dag_bundle_config_list``:
    ``[…, {"name": "logpipe", "classpath": "logpipe.airflow.bundle.LogpipeDagBundle", "kwargs": {}}]``.

    Args:
        kwargs: ``name``, ``refresh_interval`` (seconds) and the like, as Airflow gives them.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs | {"path": str(PROJECT_DIR / "dags")})
