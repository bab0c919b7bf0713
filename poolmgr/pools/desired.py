"""The desired settings of a pool, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass

from poolmgr.pools.spec import PoolSpec


@dataclass(frozen=True, slots=True)
class Desired:
    """``profile`` names the source for people; ``revision`` is 0 for the settings in ``settings.DATABASES``."""

    spec: PoolSpec
    profile: str = "bootstrap"
    revision: int = 0
