"""Repair of a day on HDFS, the exception."""

from logpipe.airflow.operators.day_program import DayProgram


class RepairOperator(DayProgram):
    """Has a process host read a day's files and mend from the topic what is missing or damaged.

    What belongs to nothing is moved aside. It works while lines arrive, and may be killed and run again.

    Args:
        kwargs: as in `DayProgram`.
    """

    program = "repair"
    ended_well = ("mended",)
    undone = "is not mended"
