"""What to look at and what to do about a target, verdict by verdict."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from poolmgr.control.reporting.advice.entry import Advice, entry

_HOLDERS = _(
    "Who holds connections, the oldest first: the view, task or command, and what it is at. Its name leads to its "
    "stack."
)
_RAISE = _(
    "If they all run statements that they need, raise max_size: the profile's form says how much room the server "
    "has, and "
    "whoever waits is served as soon as you save."
)
_LET_GO = _(
    "If they ask nothing, or lie idle in a transaction, the connection is held for something else, such as a call to "
    "another "
    "service: set pool_mode to transaction, or put released() around the call."
)

_ROOT = _("Who blocks whom: the session at the root is in the way of all below it. Look at nobody else first.")
_ASK = _(
    "If the root is one of ours that lies idle in a transaction, end its session on the page to which its name "
    "leads. Its "
    "view or task does something else inside atomic(): move that out. Setting idle_in_transaction_session_timeout "
    "ends such "
    "sessions the next time."
)
_END = _(
    "If it is a stranger, ask whose it is by name, user and address. If nobody knows: SELECT "
    "pg_terminate_backend(pid) on "
    "the server ends it, and its transaction is rolled back."
)
_PREPARED = _(
    "A prepared transaction has no session: COMMIT PREPARED or ROLLBACK PREPARED with its name, in its database, "
    "ends it."
)

#: By the name of the rule that gives the verdict.
OF_TARGETS: dict[str, Advice] = {
    "exhausted": entry(
        _("Requests get no connection"),
        _(
            "Every connection that a process may open is in use, and requests have waited for connection_timeout in "
            "vain."
        ),
        (
            _("Which processes are full: room that others have is none for their requests."),
            _HOLDERS,
            _("What changed just before: an edit of max_size, a deploy, more traffic."),
        ),
        (
            _("If max_size was lowered just before, restore the revision before it from the profile's history."),
            _LET_GO,
            _RAISE,
            _("Recycling or pausing the pool helps nobody here: connections are not what is wrong."),
        ),
    ),
    "blocked_and_waiting": entry(
        _("Holders wait for somebody's lock, and requests for them"),
        _(
            "Those who hold connections wait in the database for a lock that somebody keeps. So no connection comes "
            "back, "
            "and requests wait for one or fail."
        ),
        (_ROOT, _("Since when it has been in its state, and its last statement.")),
        (
            _ASK,
            _END,
            _PREPARED,
            _("A larger pool only lets more requests wait for the same lock, and a recycle waits for them too."),
        ),
    ),
    "blocked": entry(
        _("Holders wait for somebody's lock"),
        _("Those who hold connections have waited for more than a second for a lock that somebody keeps."),
        (
            _ROOT,
            _("Whether it is a statement that runs and will end, such as a migration, or a transaction left idle."),
        ),
        (_ASK, _END, _PREPARED),
    ),
    "waiting": entry(
        _("Requests wait for a connection"),
        _(
            "Processes are full, and requests wait. Nobody has failed yet; they do when they have waited "
            "connection_timeout."
        ),
        (_("How long the first of them has waited, of how long it may."), _HOLDERS),
        (_LET_GO, _RAISE),
    ),
    "failed_lately": entry(
        _("Requests failed, and nobody waits now"),
        _("Within the last minute requests got no connection. It is over for now."),
        (
            _("The events: since when, and what came just before."),
            _("The use times: a p99 far above the p95 is a few requests that hold for long."),
        ),
        (
            _(
                "Find out which view or task it was while it is fresh: the log of each request that failed names the "
                "holders."
            ),
            _("Set leak_threshold to have the stacks of long holders in the log the next time."),
        ),
    ),
    "slow": entry(
        _("Requests wait long"),
        _(
            "One request in twenty waits longer than a quarter of connection_timeout: a burst twice as long makes "
            "them fail."
        ),
        (_HOLDERS, _("Whether all processes wait, or those of one role.")),
        (_LET_GO, _RAISE),
    ),
    "paused": entry(
        _("The pool is paused"),
        _("Somebody has stopped checkouts. Requests wait for the resume, each for connection_timeout, and then fail."),
        (_("Who paused it and since when; ask them."), _("When the next request fails.")),
        (_("Resume, if the work that it was paused for is done or nobody knows of any."),),
    ),
    "server_full": entry(
        _("The server has no slot left"),
        _(
            "All connections that the server allows are taken, so that it lets nobody else in. What pools have open "
            "serves on; "
            "they can't grow or replace anything."
        ),
        (
            _("Who has the slots: ours by target, all others by application_name, user and address."),
            _(
                "If nobody of ours could ask the server: SELECT application_name, usename, count(*) FROM pg_stat_activity "
                "GROUP BY 1, 2, as a superuser, for whom it keeps slots."
            ),
            _(
                "Whether one program has far more than it needs: a pool of its own without a limit, or a job that "
                "never closes."
            ),
        ),
        (
            _(
                "If others have them, end what nobody needs, as a superuser: SELECT "
                "pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '...'."
            ),
            _(
                "So that it doesn't come back: ALTER ROLE ... CONNECTION LIMIT for that program's user, or a limit "
                "in its own pool."
            ),
            _("If ours have them, set a budget below the server's limit, which the whole fleet then shares."),
            _("Don't raise max_size, and don't recycle: connections that are closed now can't be opened again."),
        ),
    ),
    "unreachable": entry(
        _("No connection can be opened"),
        _(
            "The server can't be reached, or lets nobody in; the sentence has its reason. No pool has a connection "
            "left."
        ),
        (
            _("The reason: nothing listens, no answer, the password, a certificate."),
            _("Whether all targets at that server say so."),
        ),
        (
            _("Nothing listens, no answer: see to the server or the way to it. Pools connect again by themselves."),
            _(
                "Refused password: correct it where the settings read it; restart the processes if they read it at "
                "the start."
            ),
        ),
    ),
    "connects_fail": entry(
        _("New connections fail"),
        _(
            "Connections that are open serve on, and no new one can be opened. Pools can't grow or replace what gets "
            "old."
        ),
        (
            _("The reason in the sentence."),
            _("How many of the server's connections are ours, and whose the others are."),
        ),
        (
            _("Act before max_lifetime ends what is open: then requests begin to fail."),
            _("Don't recycle: connections that are closed now can't be opened again."),
        ),
    ),
    "over_budget": entry(
        _("More connections are held than the budget allows"),
        _("Processes hold more together than the budget that they share."),
        (_("Processes that report no more: frozen ones wake with connections that no budget counts any more."),),
        (_("End processes that are frozen or cut off; what is beyond the budget is closed as it returns."),),
    ),
    "budget_too_small": entry(
        _("The budget is smaller than the fleet"),
        _(
            "Each process may hold one connection whatever the budget, so that none stands still; there are more "
            "than that."
        ),
        (_("How many processes share it, and whether a deploy has doubled them for the moment."),),
        (_("Raise the budget, or run fewer processes with more threads each."),),
    ),
    "refused": entry(
        _("Transactions are refused"),
        _("The pool is in statement mode, which allows no transaction, and the site asks for one."),
        (_("Sessions, bulk_create() and ATOMIC_REQUESTS use transactions too."),),
        (_("Set pool_mode to transaction in the profile."),),
    ),
    "not_following": entry(
        _("Processes don't follow the newest settings"),
        _("A profile was saved, and some processes go on with what they had."),
        (
            _(
                "Which ones: the table marks their revision. Right after a save this is over within a second with "
                "Redis."
            ),
            _("Their log (logger poolmgr.agent) has the reason."),
        ),
        (_("Restart a process whose agent is off or was started with other settings."),),
    ),
    "problem": entry(
        _("Something keeps a pool from doing as its settings say"),
        _("The sentence says what."),
        (_("Whether the row of the profile was made in SQL, past the form."),),
        (_("Correct the profile in its form, which refuses what no pool can do."),),
    ),
    "closed": entry(
        _("The pool is closed"),
        _("The process ends, or the site has closed its pool."),
        (_("Whether a deploy is under way."),),
        (_("Nothing, if the process ends. Otherwise see who calls close() on it."),),
    ),
}
