"""What the database keeps: desired settings, their history, commands, and what the fleet reported."""

from poolmgr.models.command import Acknowledgement, Command
from poolmgr.models.episode import Episode
from poolmgr.models.event import Event
from poolmgr.models.lead import Lead
from poolmgr.models.lease import Lease, Ledger
from poolmgr.models.message import Message
from poolmgr.models.process import Process
from poolmgr.models.profile import PoolProfile
from poolmgr.models.revision import ProfileRevision
from poolmgr.models.sample import HealthCheck, Sample, SampleClock, SampledTotal
from poolmgr.models.total import Summed, Told

__all__ = [
    "Acknowledgement",
    "Command",
    "Episode",
    "Event",
    "HealthCheck",
    "Lead",
    "Lease",
    "Ledger",
    "Message",
    "PoolProfile",
    "Process",
    "ProfileRevision",
    "Sample",
    "SampleClock",
    "SampledTotal",
    "Summed",
    "Told",
]
