"""A log is followed on each host that has a replayer, and then no longer.

`FollowingHostsOperator` names the hosts of the connection, `FollowLogOperator` has the replayer of each
follow its own file; with `supervise=True` it would stay, deferred, for as long as the log is followed, and
`FollowEndOperator`, its teardown, would end that when a person marks the run. A log that is not there yet is
waited for. `UnfollowLogOperator` ends it. The services must be up: see `example_services`.
"""

from airflow.sdk import DAG

from logpipe import settings
from logpipe.airflow.operators.follow import (
    FollowEndOperator,
    FollowingHostsOperator,
    FollowLogOperator,
    UnfollowLogOperator,
)

LOG = str(settings.load().file_root_folders[0] / "shop" / "access.log")

with DAG("example_follow", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    hosts = FollowingHostsOperator(task_id="hosts")
    follow = FollowLogOperator.partial(task_id="follow", path=LOG, log_format="combined")
    unfollow = UnfollowLogOperator.partial(task_id="unfollow", path=LOG)

    end = FollowEndOperator(task_id="end", supervised_by="follow").as_teardown()

    follow.expand(host=hosts.output) >> [unfollow.expand(host=hosts.output), end]
