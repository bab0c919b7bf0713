"""A real Redis Cluster: several servers on the loopback interface, each with a part of the slots."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from poolsite.demo.ports import HOST, is_taken
from poolsite.demo.redis import EmbeddedRedis
from tests.waiting import until

_SLOTS = 16384
#: A node talks to the others at its port and this; both stay below the ports of outgoing connections.
_BUS = 10_000


def _port() -> int:
    while is_taken(port := 20_000 + secrets.randbelow(2_768)) or is_taken(port + _BUS):
        pass
    return port


class Cluster:
    """Masters without replicas, with one password."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._password = ""
        self.nodes = [self._start() for _ in range(size)]
        step = -(-_SLOTS // size)
        for number, node in enumerate(self.nodes):
            self.admin(node).cluster("ADDSLOTS", *range(number * step, min(_SLOTS, (number + 1) * step)))
        for node in self.nodes[1:]:
            self._meet(node)
        self._agree(self.nodes)

    def _start(self) -> EmbeddedRedis:
        number = len(list(self._directory.iterdir())) if self._directory.exists() else 0
        folder = self._directory / f"node{number}"
        if self._password:
            folder.mkdir(parents=True)
            (folder / "redis.password").write_text(self._password)
        settings = {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf", "cluster-node-timeout": "2000"}
        node = EmbeddedRedis(folder, port=_port(), settings=settings).start()
        self._password = (folder / "redis.password").read_text().strip()
        return node

    def admin(self, node: EmbeddedRedis) -> "redis.Redis":
        return redis.Redis.from_url(node.url(), decode_responses=True)

    def _meet(self, node: EmbeddedRedis) -> None:
        self.admin(node).cluster("SET-CONFIG-EPOCH", 100 + self._number_of(node))
        self.admin(self.nodes[0]).cluster("MEET", HOST, node.port)

    def _number_of(self, node: EmbeddedRedis) -> int:
        return node.port

    def _agree(self, nodes: Sequence[EmbeddedRedis]) -> None:
        def agreed() -> bool:
            infos = [self.admin(node).cluster("INFO") for node in nodes]
            return all(
                each["cluster_state"] == "ok" and each["cluster_known_nodes"] == str(len(nodes)) for each in infos
            )

        until(agreed, "the cluster to agree", timeout=30)

    def move_slots(self, source: EmbeddedRedis, to: EmbeddedRedis) -> int:
        """Give all slots of one node to another, with what is in them lost; how many."""
        self.admin(source).flushall()
        ids = {node.port: str(self.admin(node).cluster("MYID")) for node in self.nodes}
        ranges = [part[:2] for part in self.admin(to).execute_command("CLUSTER SLOTS") if part[2][1] == source.port]
        slots = [slot for first, last in ranges for slot in range(first, last + 1)]
        # Else what the one says before it has heard of it could count for more; and it must not hear of it from others, as
        # it would become their replica.
        self.admin(to).cluster("BUMPEPOCH")
        for node in sorted(self.nodes, key=lambda each: each is not source):
            with self.admin(node).pipeline(transaction=False) as pipe:
                for slot in slots:
                    pipe.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[to.port])
                pipe.execute()
        until(lambda: not any(self._has_slots(source, node) for node in self.nodes), "all to have heard of it")
        return len(slots)

    def _has_slots(self, node: EmbeddedRedis, says: EmbeddedRedis) -> bool:
        return any(part[2][1] == node.port for part in self.admin(says).execute_command("CLUSTER SLOTS"))

    def migrate(self, slot: int, source: EmbeddedRedis, to: EmbeddedRedis) -> None:
        """Begin to move a slot: who asks the one for a key that it hasn't is sent to the other."""
        self.admin(to).cluster("SETSLOT", slot, "IMPORTING", self.admin(source).cluster("MYID"))
        self.admin(source).cluster("SETSLOT", slot, "MIGRATING", self.admin(to).cluster("MYID"))

    def forget(self, node: EmbeddedRedis) -> None:
        """Take a node that is stopped out of the cluster."""
        self.nodes.remove(node)
        for other in self.nodes:
            names: Any = self.admin(other).execute_command("CLUSTER NODES")
            gone = next(each["node_id"] for address, each in names.items() if address == f"{HOST}:{node.port}")
            self.admin(other).cluster("FORGET", gone)
        self._agree(self.nodes)

    def add(self, node: EmbeddedRedis) -> None:
        """Have a node, empty, in the cluster; a slot of its own makes it known to clients."""
        (node.dir / "nodes.conf").unlink(missing_ok=True)
        node.start()
        self._meet(node)
        self.nodes.append(node)
        self._agree(self.nodes)
        last = self.nodes[-2]
        slots = self.admin(last).execute_command("CLUSTER SLOTS")
        slot = next(part[0] for part in slots if part[2][1] == last.port)
        new = str(self.admin(node).cluster("MYID"))
        for each in (node, *self.nodes[:-1]):
            self.admin(each).execute_command("CLUSTER", "SETSLOT", slot, "NODE", new)
        until(lambda: len(self.admin(self.nodes[0]).execute_command("CLUSTER SLOTS")) > len(slots), "the slot to move")

    def add_replica(self, master: EmbeddedRedis) -> EmbeddedRedis:
        """A node that takes the slots over when this master is gone."""
        replica = self._start()
        self._meet(replica)
        self.nodes.append(replica)
        self._agree(self.nodes)
        admin = self.admin(replica)
        admin.config_set("masterauth", self._password)
        admin.cluster("REPLICATE", self.admin(master).cluster("MYID"))
        until(lambda: admin.info("replication").get("master_link_status") == "up", "the replica to be one", timeout=30)
        return replica

    @property
    def url(self) -> str:
        return self.nodes[0].url().rpartition("/")[0]

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
