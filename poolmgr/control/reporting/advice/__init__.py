"""What to look at and what to do: the runbook's entries, as the pages have them."""

from poolmgr.control.reporting.advice.entry import Advice
from poolmgr.control.reporting.advice.processes import OF_PROCESSES
from poolmgr.control.reporting.advice.verdicts import OF_TARGETS

__all__ = ["ADVICE", "OF_PROCESSES", "Advice"]

#: By the name of the rule that gives the verdict, or of the trouble of a process.
ADVICE: dict[str, Advice] = {**OF_TARGETS, **OF_PROCESSES}
