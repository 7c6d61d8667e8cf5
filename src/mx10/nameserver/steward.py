"""The steward: one process beside the workers that does everything but answer questions: transfers, NOTIFY, updates,
the upkeep of signatures, what commands order.

It is asyncio, with one thread for the store (its connections wait for disks) and one that watches it for changes. What
there is to do is plugged in: handlers at the desk, services that run, listeners told which zones changed. A steward
that dies is replaced by the supervisor; workers answer on meanwhile.
"""

import asyncio
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

from mx10.config import Config
from mx10.dns.tsig import KeyFileError, TsigKey, keys_from_text
from mx10.logs import get_logger
from mx10.nameserver.control import FrameReader
from mx10.nameserver.desk import Desk
from mx10.nameserver.tally import Tally
from mx10.store.errors import StoreError
from mx10.zones.ledger import Ledger

FEED_SECONDS: Final = 0.04
"""Between two looks at what changed in the store."""
_STORE_RETRY_SECONDS: Final = 2.0
_KEYS_SECONDS: Final = 1.0
"""How long the file of TSIG keys is believed to be as it was."""
_CONTROL_READ: Final = 1 << 18
_T = TypeVar("_T")

log = get_logger("steward")


class Service(Protocol):
    """Something that runs beside the desk."""

    async def run(self) -> None:
        """Until cancelled."""


Changed = Callable[[Sequence[bytes]], Awaitable[None] | None]
"""Told which zones changed; an empty sequence: nobody knows, look at everything."""


class KeyFile:
    """The TSIG keys of ``nameserver.tsig_keys``, read anew when the file changes.

    Args:
        path: None: there are no keys.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked = float("-inf")
        self._stamp: tuple[int, int, int] | None = None
        self._complaint = ""
        self._keys: dict[bytes, TsigKey] = {}

    def __call__(self) -> Mapping[bytes, TsigKey]:
        """The keys there are just now; those there were where the file cannot be read."""
        if self._path is not None and self._clock() - self._looked >= _KEYS_SECONDS:
            self._looked = self._clock()
            try:
                found = self._path.stat()
                stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
                if stamp != self._stamp or self._complaint:
                    self._stamp = stamp
                    self._keys = keys_from_text(self._path.read_text())
                    self._complaint = ""
                    log.info("TSIG keys read", path=str(self._path), keys=len(self._keys))
            except (OSError, UnicodeDecodeError, KeyFileError) as error:
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    log.error("TSIG keys not read; those from before stay", path=str(self._path), cause=str(error))
        return self._keys


class Household:
    """A desk and services beside it: what a server without a store has, to be looked at (metrics, status).

    Args:
        config: of the server.
        desk: where operations come in.
        files: apex to packed zone, of the zones from files; they change as the supervisor says.
    """

    def __init__(self, config: Config, desk: Desk, files: dict[bytes, bytes] | None = None) -> None:
        self.config = config
        self.desk = desk
        self.files = {} if files is None else files
        self.tally = Tally()
        self.services: list[Service] = []
        self._file_changed: list[Callable[[bytes, bytes | None], None]] = []

    def on_file(self, changed: Callable[[bytes, bytes | None], None]) -> None:
        """Have somebody told of every zone from a file that changed: its apex, and the packed zone (None: it is gone).
        ``files`` is as it is now already.
        """
        self._file_changed.append(changed)

    def file_changed(self, apex: bytes, packed: bytes | None) -> None:
        """A zone from a file changed, is new, or gone."""
        if not apex:
            return  # an order to workers
        if packed is None:
            self.files.pop(apex, None)
        else:
            self.files[apex] = packed
        for changed in self._file_changed:
            try:
                changed(apex, packed)
            except Exception:
                log.exception("a change was not taken in")

    async def run(self, path: Path, until: Awaitable[object]) -> None:
        """Do what there is to do.

        Args:
            path: of the desk's socket.
            until: ends when the steward shall.
        """
        await self.desk.open(path)
        tasks = [asyncio.create_task(self._for_ever(each.run, type(each).__name__)) for each in self.services]
        log.info("steward ready", desk=str(path))
        try:
            await until
        finally:
            self.desk.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._close()

    def _close(self) -> None:
        """The end, when no service runs any more."""

    async def _for_ever(self, run: Callable[[], Awaitable[None]], name: str) -> None:
        """A fault in one service must not end the others."""
        complaint = ""
        while True:
            try:
                await run()
                return
            except StoreError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.error("a service waits for the store", service=name, cause=complaint)
                await asyncio.sleep(_STORE_RETRY_SECONDS)
            except Exception:
                log.exception("a service failed; it begins anew", service=name)
                await asyncio.sleep(_STORE_RETRY_SECONDS)


class Steward(Household):
    """Everything beside answering.

    Args:
        ledger: the zones of the store; closed at the end.
    """

    def __init__(
        self, config: Config, ledger: Ledger, desk: Desk, keys: KeyFile, files: dict[bytes, bytes] | None = None
    ) -> None:
        super().__init__(config, desk, files)
        self.ledger = ledger
        self.keys = keys
        self.services.append(_Feed(self))
        self._changed: list[Changed] = []
        self._store_thread = ThreadPoolExecutor(1, "store")
        self._feed_thread = ThreadPoolExecutor(1, "feed")

    def on_feed(self, changed: Changed) -> None:
        """Have somebody told of every change in the store, soon after it."""
        self._changed.append(changed)

    def in_store(self, function: Callable[..., _T], /, *arguments: object) -> Awaitable[_T]:
        """Run a function in the thread of the store. Functions wait for each other there."""
        return asyncio.get_running_loop().run_in_executor(self._store_thread, lambda: function(*arguments))

    def _close(self) -> None:
        for thread in (self._feed_thread, self._store_thread):
            thread.shutdown()
        self.ledger.store.close()

    async def watch_feed(self) -> None:
        """Tell of changes in the store, until cancelled."""
        loop = asyncio.get_running_loop()
        position: int | None = None
        complaint = ""
        while True:
            try:
                if position is None:
                    position = await loop.run_in_executor(self._feed_thread, self.ledger.feed_position)
                found = await loop.run_in_executor(self._feed_thread, self.ledger.feed_since, position)
                if found is None:
                    # Where to go on first: what changes while all is looked at is told afterwards.
                    now = await loop.run_in_executor(self._feed_thread, self.ledger.feed_position)
                    await self._tell(())
                    position = now
                elif found[1]:
                    await self._tell(found[1])
                    position = found[0]
            except StoreError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.error("the store cannot be watched; tried again", cause=complaint)
                await asyncio.sleep(_STORE_RETRY_SECONDS)
                continue
            if complaint:
                complaint = ""
                log.info("the store is watched again")
            await asyncio.sleep(FEED_SECONDS)

    async def _tell(self, apexes: Iterable[bytes]) -> None:
        """Tell everybody.

        Raises:
            StoreError: one of them could not look at what changed; all are to be told again.
        """
        names = list(apexes)
        failed: StoreError | None = None
        for changed in self._changed:
            try:
                told = changed(names)
                if told is not None:
                    await told
            except StoreError as error:
                failed = error
            except Exception:
                log.exception("a change was not taken in")
        if failed is not None:
            raise failed


class _Feed:
    """The watch over the store, as a service."""

    def __init__(self, steward: Steward) -> None:
        self._steward = steward

    async def run(self) -> None:
        await self._steward.watch_feed()


def run_steward(steward: Callable[[], Household], path: Path, control: socket.socket) -> None:
    """The life of the steward's process, forked by the supervisor.

    Args:
        steward: makes it, in this process: threads and connections are not forked.
        control: our end of a socket pair: the supervisor says which zones from files changed; its end is the order to
            stop.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def live() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, done.set)

        made = steward()
        frames = FrameReader()

        def on_control() -> None:
            try:
                data = control.recv(_CONTROL_READ)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data = b""
            if not data:
                loop.remove_reader(control)
                done.set()
            for apex, packed in frames.feed(data):
                made.file_changed(apex, packed)

        control.setblocking(False)
        loop.add_reader(control, on_control)
        await made.run(path, done.wait())

    with asyncio.Runner() as runner:
        runner.run(live())


def desk_path(run_dir: Path | None, store: Path | None, environ: Mapping[str, str], euid: int) -> Path:
    """Where the desk's socket is, for the server and for commands.

    Args:
        run_dir: as it is set (``nameserver.run_dir``).
        store: the file of the store, if it is one.
        environ: systemd names the folder for a service's sockets in RUNTIME_DIRECTORY.
        euid: the user's number; 0 is root.
    """
    if run_dir is not None:
        folder = run_dir
    elif given := environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        folder = Path(given)
    elif euid == 0:
        folder = Path("/run/mx10")
    elif store is not None:
        folder = store.parent
    else:
        folder = Path(environ.get("XDG_RUNTIME_DIR") or f"{environ.get('HOME', '')}/.local/state") / "mx10"
    return folder / "mx10.sock"
