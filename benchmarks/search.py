"""The demo's vector search through a pool and without one; and over TLS, where a connect costs the most."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from django.core.management import call_command
from pgvector.django import CosineDistance

from benchmarks.contenders import CONNECT, NATIVE_POOL, PERSISTENT, SESSION, TRANSACTION
from benchmarks.report import Measurement, Target, in_rounds, median, percentile
from benchmarks.tls import TlsPostgres, find_programs
from poolsite.docsearch.embedding import embed
from poolsite.docsearch.models import Document

CONTENDERS = [PERSISTENT, CONNECT, NATIVE_POOL, SESSION, TRANSACTION]
QUESTIONS = (
    "open a socket",
    "read a file line by line",
    "parse a date",
    "compress a stream",
    "run a subprocess",
    "lock shared by threads",
    "walk a directory tree",
    "pickle an object",
    "sort by a key",
    "encode json",
)
SIZE = 8


def measure(world: Any) -> Measurement:
    # Documents are written through the default alias, and are there for all.
    call_command("load_documents", verbosity=0)
    vectors = embed(list(QUESTIONS))
    rounds, times = (3, 20) if world.quick else (15, 40)
    for each in CONTENDERS:
        each.open(world.url, SIZE, SIZE)
        each.warm_up()
    found = in_rounds(CONTENDERS, rounds, lambda each: [_search(each, vectors[n % 10]) for n in range(times)])
    for each in CONTENDERS:
        each.leave()
        each.close()
    report = Measurement(
        "Vector search",
        f"The demo's search over {Document.objects.count():,} documents (pgvector, HNSW, 10 nearest, through the ORM), one"
        f" request after the other, {rounds * times} of each. Milliseconds. *Checkout*: from asking for a connection to"
        " having it. *To connecting*: the median whole request, of the one that connects.",
        ["", "checkout p50", "p99", "request p50", "p99", "to connecting"],
    )
    _add(report, "over TCP without TLS", found)
    _measure_tls(world, report, rounds, times)
    return report


def _search(contender: Any, vector: list[float]) -> tuple[float, float]:
    """Seconds of the checkout and of the whole request."""
    began = perf_counter()
    contender.connection.ensure_connection()
    checked_out = perf_counter()
    nearest = Document.objects.using(contender.alias).order_by(CosineDistance("embedding", vector)).defer("embedding")
    assert len(nearest[:10]) == 10
    contender.end()
    return checked_out - began, perf_counter() - began


def _query(contender: Any) -> tuple[float, float]:
    began = perf_counter()
    contender.connection.ensure_connection()
    checked_out = perf_counter()
    contender.query("SELECT count(*) FROM pg_class")
    contender.end()
    return checked_out - began, perf_counter() - began


def _measure_tls(world: Any, report: Measurement, rounds: int, times: int) -> None:
    programs = find_programs()
    if programs is None:
        report.notes.append("Over TLS: not measured, since this machine has no PostgreSQL with TLS, or no openssl.")
        return
    server = TlsPostgres(programs, world.directory / "tls")
    try:
        for each in CONTENDERS:
            each.open(server.url, SIZE, SIZE, sslmode="require")
            each.warm_up()
        found = in_rounds(CONTENDERS, rounds, lambda each: [_query(each) for _ in range(times)])
        for each in CONTENDERS:
            each.leave()
            each.close()
        _add(report, "over TLS with SCRAM, a plain query", found)
        report.notes.append(
            f"Over TLS: {server.about()}. That server has no pgvector, so the query there is a plain `SELECT count(*)` over"
            " a small table; the checkout is the same."
        )
    finally:
        server.stop()


def _add(report: Measurement, where: str, found: list[Any]) -> None:
    taken = [[pair for each in rounds for pair in each] for rounds in found]
    connecting = median(whole for _, whole in taken[CONTENDERS.index(CONNECT)])
    report.rows.append([f"*{where}*"] + [""] * (len(report.columns) - 1))
    for contender, pairs in zip(CONTENDERS, taken, strict=True):
        checkouts, wholes = zip(*pairs, strict=True)
        cells = [percentile(part, percent) * 1000 for part in (checkouts, wholes) for percent in (50, 99)]
        report.rows.append([contender.label, *cells, median(wholes) / connecting])
        if contender in (SESSION, TRANSACTION):
            name = contender.label.strip("*")
            report.targets.append(Target(f"{name}, {where}: checkout p99", cells[1], 1.0, unit=" ms"))
