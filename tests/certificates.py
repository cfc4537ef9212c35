"""An authority of the test's own, and what it vouches for."""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass
class Authority:
    """Writes what it is asked for into ``folder``, as PEM files."""

    folder: Path
    root: trustme.CA = field(default_factory=trustme.CA)

    @property
    def file(self) -> Path:
        """Its own certificate."""
        path = self.folder / "authority.pem"
        self.root.cert_pem.write_to_path(str(path))
        return path

    def issue(
        self, *names: str, expired: bool = False, key: str = "key.pem", cert: str = "cert.pem"
    ) -> tuple[Path, Path]:
        """Certificate and key for ``names``."""
        ends = datetime.now(UTC) - timedelta(days=1) if expired else None
        issued = self.root.issue_cert(*names, not_after=ends)
        key_path, cert_path = self.folder / key, self.folder / cert
        issued.private_key_pem.write_to_path(str(key_path))
        cert_path.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return cert_path, key_path

    def server(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """The context of a server that shows a certificate for ``names``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(*names, expired=expired))
        return context
