"""What a health check asks a PostgreSQL server that is no validation query: how full it is, who is there, who blocks whom."""

from __future__ import annotations

import json
from typing import Any

from poolmgr.metrics.blocking import SESSIONS
from poolmgr.pools.looking import Look
from poolmgr.pools.sql.sessions import group, session

#: Sessions that wait for locks, ours first, then those who have done so for longest, of whom is asked who blocks them.
_WAITING = 50
#: Groups of sessions that are told, and characters of a statement that are looked at.
_GROUPS, _STATEMENT = 300, 2000

# In one round trip, as one text, which every driver gives back alike.
#
# Other users' rows hide their backend_type; a user and a database mark what takes one of max_connections. A parallel worker
# takes none, and its leader is who waits and blocks. Who blocks whom takes the lock manager's own locks: so it is asked of
# those who wait for a lock, and of those who are in their way. The names of roles are in whatever encoding the database
# had in which they were made. No percent sign: some drivers would take it for the beginning of a parameter.
_FIGURES = """
WITH RECURSIVE activity AS MATERIALIZED (
    SELECT a.*, CASE WHEN backend_type = 'parallel worker' THEN (to_jsonb(a)->>'leader_pid')::int ELSE pid END AS head,
           left(application_name, 8) = 'poolmgr:' AND datname = current_database() AND usename = current_user AS named,
           encode(decode(replace(usename::text, chr(92), chr(92) || chr(92)), 'escape'), 'hex') AS role,
           datid IS NOT NULL AND usesysid IS NOT NULL
               AND coalesce(backend_type, 'client backend') = 'client backend' AS client,
           backend_start >= now() - make_interval(secs => {age}) AS new
      FROM pg_stat_activity AS a
), wanting AS MATERIALIZED (
    SELECT head AS pid, min((to_jsonb(l)->>'waitstart')::timestamptz) AS since
      FROM pg_locks AS l JOIN activity ON activity.pid = l.pid WHERE NOT granted GROUP BY head
), waiting AS MATERIALIZED (
    SELECT head AS pid, bool_or(named) AS named, min(state_change) AS since FROM activity
     WHERE wait_event_type = 'Lock' AND datname = current_database() GROUP BY head
), chain(pid) AS (
    (SELECT pid FROM waiting ORDER BY named DESC, since LIMIT {waiting})
    UNION
    SELECT unnest(pg_blocking_pids(chain.pid)) FROM chain WHERE chain.pid <> 0
), few AS MATERIALIZED (
    SELECT pid, array(SELECT DISTINCT by FROM unnest(pg_blocking_pids(chain.pid)) AS by WHERE by <> chain.pid) AS by
      FROM chain LIMIT {told}
)
SELECT json_build_object(
    'ids', array(SELECT pid FROM activity WHERE client),
    'most', current_setting('max_connections')::int,
    'reserved', coalesce(current_setting('superuser_reserved_connections', true)::int, 0)
        + coalesce(current_setting('reserved_connections', true)::int, 0),
    'version', current_setting('server_version'),
    'names', array(SELECT application_name FROM activity WHERE named AND NOT new),
    'named', (SELECT count(*) FROM activity WHERE named),
    'young', array(SELECT pid FROM activity WHERE named AND new),
    'own', pg_backend_pid(),
    'hidden', (SELECT count(*) FROM activity WHERE client AND query = '<insufficient privilege>'),
    'waiting', (SELECT count(*) FROM waiting),
    'groups', (SELECT json_agg(g) FROM (
        SELECT CASE WHEN left(application_name, 8) = 'poolmgr:' THEN 'poolmgr:' || split_part(application_name, ':', 2)
                    ELSE application_name END AS name,
               role, host(client_addr) AS address, array_agg(pid) AS pids
          FROM activity WHERE client AND pid <> pg_backend_pid()
         GROUP BY 1, 2, 3 ORDER BY count(*) DESC LIMIT {groups}) AS g),
    'sessions', (SELECT json_agg(json_build_object(
        'pid', few.pid, 'by', few.by, 'name', application_name, 'role', role, 'address', host(client_addr),
        'type', backend_type, 'client', client, 'state', state, 'seconds', extract(epoch FROM now() - state_change),
        'waits', extract(epoch FROM now() - (SELECT since FROM wanting WHERE wanting.pid = few.pid)),
        'query', CASE WHEN datname = current_database() THEN left(query, {statement}) END))
          FROM few LEFT JOIN activity ON activity.pid = few.pid),
    'prepared', (SELECT json_agg(p) FROM (
        SELECT left(gid, 100) AS gid, owner, extract(epoch FROM now() - prepared) AS seconds FROM pg_prepared_xacts
         WHERE database = current_database() AND EXISTS (SELECT FROM few WHERE few.pid = 0) ORDER BY prepared LIMIT 1) AS p)
)::text
"""


def asking(silence: float) -> str:
    """The question, of one value; ``silence`` as ``pools.looking.Prober`` has it."""
    return _FIGURES.format(age=silence, waiting=_WAITING, told=SESSIONS, groups=_GROUPS, statement=_STATEMENT)


def fill(look: Look, answer: str, pid: int) -> None:
    """Note the answer; ``pid`` is the process that the connection was told of when it was let in."""
    told: dict[str, Any] = json.loads(answer)
    look.ids, look.most, look.reserved, look.names = told["ids"], told["most"], told["reserved"], told["names"]
    look.version = f"PostgreSQL {told['version']}"
    look.hidden, look.waiting, look.young = told["hidden"], told["waiting"], told["young"]
    prepared = (told["prepared"] or [None])[0]
    look.sessions = tuple(session(each, prepared) for each in told["sessions"] or ())
    look.groups = tuple(group(each) for each in told["groups"] or ())
    if told["own"] == pid:
        # The probe's own connection is gone by the time that anybody reads this.
        look.ids = [each for each in told["ids"] if each != pid]
        look.used = len(look.ids)
    else:
        # A pooler's connections stay, and bear the name of whoever used them last, who may be gone long since.
        look.behind_pooler, look.used, look.named, look.names = True, len(look.ids), told["named"], ()
