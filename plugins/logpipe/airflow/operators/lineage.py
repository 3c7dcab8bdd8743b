"""Where lines come from and go to, in the words of others: Airflow's assets, OpenLineage's datasets."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import Asset

from logpipe.digest import Digest
from logpipe.settings import Settings

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


def days_asset(conf: Settings) -> Asset:
    """The dated folders on HDFS, ``hdfs://…``: an event for each sealed day, called after the topic."""
    return Asset(name=f"{conf.topic}_partition", uri=f"{conf.hdfs_url}{conf.hdfs_logs_dir}")


def topic_asset(conf: Settings) -> Asset:
    """The topic, ``kafka://…``: the first broker's address stands for all."""
    return Asset(name=conf.topic, uri=f"kafka://{conf.kafka_bootstrap.partition(',')[0]}/{conf.topic}")


def tell_partition(event: Any, key: str, extra: dict[str, Any]) -> None:
    """Have an asset tell of one of its partitions, and of itself: two events with the same ``extra``.

    One with a key starts DAGs by a `PartitionedAssetTimetable` and no others; one without only others.

    Args:
        event: of the asset, from the task's ``outlet_events``.
        key: of the partition.
        extra: what readers find in both.
    """
    event.extra = extra
    event.add_partitions(key)
    event.partition_keys.add(None)  # Airflow 3.3 has no other way to say both; it takes what is there


def lineage(source: str, target: str, digest: Digest) -> "OperatorLineage":
    """What OpenLineage is told of lines that went from one place to another.

    Args:
        source: where from, a URI.
        target: where to; its facets say how many lines, how many bytes without their ends, and which: its
            version is their digest, ``LINES-BYTES-HASH``, so that equal lines have an equal one.
        digest: of the lines.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset, output_statistics_output_dataset

    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=digest.lines, size=digest.size_bytes
    )
    name = f"{digest.lines}-{digest.size_bytes}-{digest.hash_sum:016x}"
    version = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=name)
    return OperatorLineage(
        inputs=[InputDataset(*_dataset(source))],
        outputs=[
            OutputDataset(
                *_dataset(target), facets={"version": version}, outputFacets={"outputStatistics": statistics}
            )
        ],
    )


def _dataset(uri: str) -> tuple[str, str]:
    """Namespace and name, as Airflow's providers make them of assets; a login in a URL is none of them."""
    parts = urlsplit(uri)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}" if place else parts.scheme, parts.path.lstrip("/") or "/"
