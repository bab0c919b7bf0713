"""What to look at and what to do about processes, whatever the target."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from poolmgr.control.reporting.advice.entry import Advice, entry

#: By the code of the trouble.
OF_PROCESSES: dict[str, Advice] = {
    "silent": entry(
        _("A process sends no heartbeat"),
        _(
            "Processes report every few seconds, and this one has not three times over. Whether it serves anybody is "
            "unknown; "
            "when PROCESS_TTL is over without a word, it counts as gone."
        ),
        (
            _(
                "Whether it runs still on its host, and the log of whoever starts it again: gunicorn, Celery, "
                "systemd, Kubernetes."
            ),
            _("The kernel's log of its host: it kills the largest process when memory runs out."),
            _(
                "Whether others of the same host are silent too: then it is the host, or its way to Redis and the "
                "database."
            ),
        ),
        (
            _(
                "If it is gone, see that another one takes its place. Nothing has to be cleared away: the server "
                "ends its sessions."
            ),
            _(
                "If it stands still (stopped, swapped out), end it or let it go on: its connections keep their locks "
                "until then."
            ),
            _("If memory ran out, give it less to do at once, or more memory: it will happen again."),
        ),
    ),
    "threads": entry(
        _("All request threads are busy"),
        _(
            "No thread has come free for seconds, so that requests wait before any of the site's code runs. Nobody "
            "waits for "
            "a connection: a larger pool would change nothing."
        ),
        (
            _("Which views keep the threads, and the line of code that each stands at, on the page of the process."),
            _(
                "Whether they hold connections: then the database is slow, or a lock is in the way. If not, they "
                "wait for something else."
            ),
            _("Another service that has become slow is the likeliest: a model, a payment, a mail server."),
        ),
        (
            _("Give the call at which they stand a timeout of a few seconds, or do it in a task."),
            _("Restart the process to free its threads now, if what they wait for will not come."),
            _(
                "If they all do work that they must, serve with more threads or processes; then look at max_size and "
                "the server's slots."
            ),
            _(
                "Serve this console in its own process (poolmgr.console), if it did not answer meanwhile: its "
                "threads are its own."
            ),
        ),
    ),
}
