"""scripts/demo: start everything, say where it is, and stop it all on Ctrl-C."""

import argparse
import io
import os
import signal
import sys
from pathlib import Path

from .check import check
from .processes import ProcessError, stop_on_signals
from .site import OPERATOR, ROOT, Options, Site


def main() -> int:
    given = _arguments()
    stop_on_signals()
    # Line by line also into a pipe or a file, so that what we print and what our children print keep their order.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        return check(given.with_pgbouncer) if given.check else demo(_options(given))
    except ProcessError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def demo(options: Options) -> int:
    """Run until a signal comes or a part fails."""
    with Site(options) as site:
        try:
            site.start_servers()
            site.prepare()
            site.start_pgbouncer()
            print("Starting web, answers, console, Celery worker and beat")
            site.start_processes()
            site.start_traffic()
            _announce(site)
            site.watch()
        finally:
            # A second Ctrl-C must not leave half of it running; every stop has its own deadline.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            if site.children:
                print("\nStopping")
    return 0


def _announce(site: Site) -> None:
    print(
        f"""
  Search     {site.url}/
  Figures    {site.url}/reports/
  Answers    {site.answers_url}/answer/ (word by word, from an ASGI server)
  Pools      {site.url}/pools/
  Admin      {site.url}/admin/
  Console    {site.console_url}/pools/ (a process of its own: it answers when the web workers don't)
  Log in as  {OPERATOR}
  Password   {site.password}

Logs are in {site.logs}. Ctrl-C stops everything."""
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="A document search on managed pools, with every server and process it needs. "
        "DATABASE_URL and REDIS_URL in the environment use servers of yours instead of the embedded ones.",
    )
    parser.add_argument(
        "--check", action="store_true", help="do the main job once on servers of its own, then stop; exits 0 or 1"
    )
    parser.add_argument(
        "--with-pgbouncer",
        action="store_true",
        help="put a PgBouncer before the database of the figures, managed by the same pages; it must be installed",
    )
    parser.add_argument("--port", type=_port, default=8000, help="of the site (default 8000)")
    parser.add_argument("--console-port", type=_port, help="of the console's own process (default: any that is free)")
    parser.add_argument("--answers-port", type=_port, help="of the ASGI server (default: any that is free)")
    parser.add_argument("--postgres-port", type=_port, help="of the embedded PostgreSQL (default: any that is free)")
    parser.add_argument("--redis-port", type=_port, help="of the embedded Redis (default: any that is free)")
    parser.add_argument("--workers", type=_count, default=2, help="web processes (default 2)")
    parser.add_argument("--concurrency", type=_count, default=2, help="Celery's child processes (default 2)")
    parser.add_argument("--rate", type=float, default=3.0, help="searches a second of the traffic (default 3)")
    parser.add_argument("--no-traffic", action="store_true", help="nobody searches but you")
    parser.add_argument("--directory", type=Path, default=ROOT / ".demo", help="data, logs and secrets (default .demo)")
    return parser.parse_args()


def _options(given: argparse.Namespace) -> Options:
    return Options(
        directory=given.directory.absolute(),
        port=given.port,
        console_port=given.console_port,
        answers_port=given.answers_port,
        workers=given.workers,
        concurrency=given.concurrency,
        searches_per_second=0.0 if given.no_traffic else given.rate,
        database_url=os.environ.get("DATABASE_URL", ""),
        redis_url=os.environ.get("REDIS_URL", ""),
        postgres_port=given.postgres_port,
        redis_port=given.redis_port,
        with_pgbouncer=given.with_pgbouncer,
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port. Allowed: 1 to 65535.")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed. Allowed: 1 to 64.")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
