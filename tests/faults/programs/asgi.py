"""uvicorn serves the views to clients that stay and clients that leave: python -m tests.faults.programs.asgi"""

import asyncio
import logging
import time
from typing import Any

import uvicorn

from tests.faults.programs.site import configure, report, sessions

configure()
logging.disable(logging.ERROR)

from django.core.asgi import get_asgi_application  # noqa: E402

import poolmgr  # noqa: E402


async def get(port: int, path: str, *, leave_after: float | None = None) -> str:
    """The answer to a request; with ``leave_after``, what had come when the client left."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n".encode())
    try:
        return (await asyncio.wait_for(reader.read(-1), leave_after or 30)).decode()
    except TimeoutError:
        return "left"
    finally:
        writer.transport.abort()


async def everybody(port: int, paths: list[str], **options: Any) -> list[str]:
    return list(await asyncio.gather(*(get(port, path, **options) for path in paths)))


async def quiet(within: float = 5.0) -> float:
    """Seconds until nothing is checked out any more."""
    began = time.monotonic()
    while poolmgr.pool().snapshot().used and time.monotonic() - began < within:
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def settled(within: float = 5.0) -> dict[str, int]:
    """The pool's figures beside the server's, when they agree: what was taken from a thread's end may still be leaving."""
    began = time.monotonic()
    while True:
        seen = poolmgr.pool().snapshot()
        told = {"used": seen.used, "size": seen.size, "sessions": len(sessions()), "waiting": seen.pending}
        if told["size"] == told["sessions"] or time.monotonic() - began > within:
            return told
        await asyncio.sleep(0.02)


async def main() -> None:
    config = uvicorn.Config(get_asgi_application(), host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    told: dict[str, Any] = {"before": len(sessions())}
    kinds = ["/sync", "/async", "/atomic", "/stream", "/sync-stream", "/failing", "/thread", "/thread-state"]
    most, done = 0, asyncio.Event()

    async def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, len(await asyncio.to_thread(sessions)))
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    answers = await everybody(port, kinds * 6)
    told["answers"] = sorted({answer.split()[1] for answer in answers})
    told["failed"] = sum(answer.split()[1] == "500" for answer in answers)
    told["quiet"] = round(await quiet(), 2)
    # Clients that leave: while the view waits, in the middle of a query, in the middle of a stream.
    left = await everybody(port, ["/slow", "/slow-query", "/stream?endless"] * 3, leave_after=0.4)
    told["left"] = len([answer for answer in left if answer == "left"])
    told["quiet_after_leaving"] = round(await quiet(), 2)
    told["after"] = [
        answer.split()[1] for answer in await everybody(port, ["/async", "/sync", "/thread", "/thread-state"] * 4)
    ]
    await quiet()
    done.set()
    await watching
    told |= {"most": most, **await settled()}
    server.should_exit = True
    await serving
    report(**told)


asyncio.run(main())
