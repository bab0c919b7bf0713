"""The agent of the process of a test, which most tests do without."""

from typing import Any

from django.core.management import call_command

from poolmgr.control import agent
from poolmgr.pools import registry


def without_agent() -> None:
    """Have this process follow no profile and have no lease, as one that never had an agent.

    Its own may have started while the database was made, or with another test, and what it read last would stay in force.
    """
    agent.stop(10.0)
    registry.set_desired({})
    registry.lift_limits()


def command(name: str, *arguments: str, **options: Any) -> Any:
    """``call_command()`` for one that stands aside for as long as its process lives, which is this test's and goes on."""
    try:
        return call_command(name, *arguments, **options)
    finally:
        agent._aside = False
