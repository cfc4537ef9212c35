"""Two PostgreSQL under patroni, with etcd, haproxy and pgbouncer before them: Debian's programs, on loopback.

What is committed is on both (synchronous mode), so that no failover may lose it.
"""

import asyncio
import os
import pwd
import shutil
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.daemons import until

BINARIES = Path("/usr/lib/postgresql/15/bin")
PROGRAMS = ("patroni", "etcd", "haproxy", "pgbouncer")
USER = "postgres"
NAMES = ("a", "b")
_PATH = f"{BINARIES}:/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> str | None:
    """What of it is not installed here, by Debian's names; None where nothing is."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if not (BINARIES / "postgres").exists():
        lacking.append("postgresql-15")
    return " ".join(lacking).replace("etcd", "etcd-server") or None


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that were free a moment ago."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@dataclass
class Cluster:
    """``ports`` of the servers by name; ``pooled`` and ``direct`` are two ways for marketd to find the primary."""

    folder: Path
    ports: dict[str, int]
    pooled: str
    direct: str
    processes: dict[str, Process] = field(default_factory=dict)

    async def primary(self) -> str:
        """The server that takes writes."""
        for name, port in self.ports.items():
            try:
                connection = await asyncpg.connect(_dsn(port, "postgres"), timeout=2)
            except (OSError, TimeoutError, asyncpg.PostgresError):
                continue
            try:
                if not await connection.fetchval("SELECT pg_is_in_recovery()"):
                    return name
            finally:
                await connection.close()
        raise LookupError("no server takes writes")

    async def ready(self) -> bool:
        """Whether a primary waits for the other at every commit, as it will have to."""
        try:
            connection = await asyncpg.connect(_dsn(self.ports[await self.primary()], "candles"), timeout=2)
        except (LookupError, OSError, TimeoutError, asyncpg.PostgresError):
            return False
        try:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"))
        finally:
            await connection.close()

    async def connect(self, name: str) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(_dsn(self.ports[name], "candles"), timeout=5)

    def kill(self, name: str) -> None:
        """The server and what keeps it, at once and for good: as if its host had burnt."""
        (pid, *_) = (self.folder / name / "data" / "postmaster.pid").read_text().splitlines()
        self.processes[name].send_signal(signal.SIGKILL)
        os.kill(int(pid), signal.SIGKILL)


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    store, peers, balanced, pooled, *others = free_ports(8)
    ports, guards = dict(zip(NAMES, others[:2], strict=True)), dict(zip(NAMES, others[2:], strict=True))
    both = ",".join(f"127.0.0.1:{port}" for port in ports.values())
    made = Cluster(
        folder, ports, f"postgresql://{USER}@127.0.0.1:{pooled}/candles",
        f"postgresql://{USER}@{both}/candles?target_session_attrs=read-write",
    )  # fmt: skip
    files = {f"{name}.yml": _keeper(folder, name, ports[name], guards[name], store) for name in NAMES}
    files |= {"haproxy.cfg": _balancer(balanced, ports, guards), "pgbouncer.ini": _pooler(pooled, balanced)}
    _prepare(folder, files)
    async with AsyncExitStack() as stack:

        async def start(name: str, *argv: str) -> None:
            made.processes[name] = await stack.enter_async_context(_running(folder, name, argv))

        await start("etcd", *_store(folder, store, peers))
        await start("a", "patroni", str(folder / "a.yml"))
        await until(lambda: _takes_writes(made), 60)
        connection = await asyncpg.connect(_dsn(ports["a"], "postgres"))
        await connection.execute("CREATE DATABASE candles")
        await connection.close()
        await start("b", "patroni", str(folder / "b.yml"))
        await start("haproxy", "haproxy", "-db", "-f", str(folder / "haproxy.cfg"))
        await start("pgbouncer", "pgbouncer", "--quiet", str(folder / "pgbouncer.ini"))
        await until(made.ready, 60)
        yield made


def _prepare(folder: Path, files: Mapping[str, str]) -> None:
    """Settings, and a folder for each that keeps something; all of them the servers' user's."""
    for name in (*NAMES, "etcd"):
        (folder / name).mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    for path in folder.iterdir():
        shutil.chown(path, USER)


async def _takes_writes(made: Cluster) -> bool:
    try:
        return bool(await made.primary())
    except LookupError:
        return False


def _dsn(port: int, database: str) -> str:
    return f"postgresql://{USER}@127.0.0.1:{port}/{database}"


@asynccontextmanager
async def _running(folder: Path, name: str, argv: Sequence[str]) -> AsyncIterator[Process]:
    """As the servers' user, ended with the test; what it says is in a file of its name."""
    user = pwd.getpwnam(USER)
    words = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "--pdeathsig=KILL", *argv]
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=DEVNULL, stdout=log, stderr=log, cwd=folder, env={"PATH": _PATH, "LC_ALL": "C.UTF-8"}
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(20):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def _store(folder: Path, port: int, peers: int) -> Sequence[str]:
    url, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    return (
        "etcd", "--name", "one", "--data-dir", str(folder / "etcd" / "data"), "--unsafe-no-fsync",
        "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer,
        "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}",
    )  # fmt: skip


def _keeper(folder: Path, name: str, port: int, guard: int, store: int) -> str:
    return f"""
scope: candles
name: {name}
restapi: {{listen: "127.0.0.1:{guard}", connect_address: "127.0.0.1:{guard}"}}
etcd3: {{host: "127.0.0.1:{store}"}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    synchronous_mode: true
    postgresql: {{use_pg_rewind: false, use_slots: true}}
  initdb: [{{encoding: UTF8}}, {{locale: C}}, data-checksums]
  pg_hba: ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
postgresql:
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  data_dir: {folder / name / "data"}
  bin_dir: {BINARIES}
  basebackup: [{{checkpoint: fast}}]
  pgpass: {folder / name / "pgpass"}
  authentication: {{superuser: {{username: {USER}}}, replication: {{username: replicator}}}}
  parameters: {{unix_socket_directories: "{folder / name}", max_connections: 60}}
"""


def _balancer(port: int, ports: dict[str, int], guards: dict[str, int]) -> str:
    servers = "\n".join(f"  server {name} 127.0.0.1:{ports[name]} check port {guards[name]}" for name in ports)
    return f"""
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen primary
  bind 127.0.0.1:{port}
  option httpchk OPTIONS /primary
  http-check expect status 200
  default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""


def _pooler(port: int, behind: int) -> str:
    return f"""
[databases]
candles = host=127.0.0.1 port={behind} user={USER}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 8
server_login_retry = 1
server_connect_timeout = 3
"""
