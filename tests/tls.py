"""TLS before a server that speaks none, with real certificates of an authority of the run's own."""

import asyncio
import contextlib
import datetime
import ssl
import threading
from pathlib import Path

import trustme

HOST = "127.0.0.1"


class Authority:
    """`file` is what whoever trusts it needs."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._made = trustme.CA()
        self.file = directory / f"{name}.pem"
        self._made.cert_pem.write_to_path(str(self.file))

    def server_side(self, *names: str, clients: bool = False, expired: bool = False) -> ssl.SSLContext:
        """What a server of these names needs; with `clients` it asks for a certificate of this authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        until = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1) if expired else None
        self._made.issue_cert(*names, not_after=until).configure_cert(context)
        if clients:
            self._made.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_files(self, directory: Path, name: str) -> tuple[Path, Path]:
        """A client's certificate and its key."""
        made = self._made.issue_cert(name)
        certificate, key = directory / "client.pem", directory / "client.key"
        made.cert_chain_pems[0].write_to_path(str(certificate))
        made.private_key_pem.write_to_path(str(key))
        return certificate, key


class TlsFront:
    """Speaks TLS at 127.0.0.1:`port` and passes on what is said to the server at `to`, and its end too.

    With `asked` it begins as PostgreSQL does, in plain text and with the question whether it may.
    """

    def __init__(self, to: int, context: ssl.SSLContext, *, asked: bool = False) -> None:
        self._to = to
        self._asked = context if asked else None
        self._loop = asyncio.new_event_loop()
        begun = asyncio.start_server(self._serve, HOST, 0, ssl=None if asked else context)
        self._server = self._loop.run_until_complete(begun)
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._asked is not None:
                await reader.readexactly(8)
                writer.write(b"S")
                await writer.start_tls(self._asked)
            behind = await asyncio.open_connection(HOST, self._to)
        except (OSError, EOFError):
            writer.close()
            return
        await asyncio.gather(self._pump(reader, behind[1]), self._pump(behind[0], writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
