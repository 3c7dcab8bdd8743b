"""A streaming job of ours on YARN: found by its name, and stopped by a marker on HDFS."""

import asyncio
import time

from logpipe.airflow.hooks.hdfs_directory import HdfsDirectoryHook
from logpipe.airflow.hooks.yarn import YarnApplication, YarnHook

_STOP_FILE = "stop"  # what the driver looks for in its checkpoint folder, see spark_jobs/windows/life.py
_MARK_INTERVAL_S = 5.0
_POLL_S = 1.0


class SparkApplicationHook:
    """The application of one checkpoint. It adds to `YarnHook` what belongs to the job.

    Args:
        name: of the application; there is one live application of it at most.
        checkpoint_dir: the query's checkpoint on HDFS.
        yarn_conn_id: connection to the ResourceManager.
        webhdfs_conn_id: connection to HDFS.
    """

    def __init__(self, name: str, checkpoint_dir: str, yarn_conn_id: str, webhdfs_conn_id: str) -> None:
        self.name = name
        self.checkpoint_dir = checkpoint_dir
        self.yarn = YarnHook(yarn_conn_id)
        self.hdfs = HdfsDirectoryHook(webhdfs_conn_id)

    async def find(self) -> YarnApplication | None:
        """Return the live application, the oldest when there are several; None when there is none."""
        found = await self.yarn.live(self.name)
        return found[0] if found else None

    async def stop(self, application_id: str, timeout_s: float) -> bool:
        """Ask the driver to stop with its batch finished; kill it when it has not ended in time.

        SIGTERM would be no clean stop: on YARN it reaches Spark's JVM and the driver's Python at once. The
        marker is set again and again, since a driver that only begins removes one that it finds.

        Returns:
            Whether it ended by itself.
        """
        end = time.monotonic() + timeout_s
        marked = 0.0
        while (application := await self.yarn.application(application_id)).live:
            now = time.monotonic()
            if now > end or application.state != "RUNNING":
                await self.yarn.kill(application_id)
                return False
            if now - marked >= _MARK_INTERVAL_S:
                marked = now
                await self.hdfs.create_empty(f"{self.checkpoint_dir}/{_STOP_FILE}")
            await asyncio.sleep(_POLL_S)
        return True
