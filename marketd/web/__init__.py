"""The HTTP port: health, figures and metrics, to read only."""

from marketd.web.port import Port
from marketd.web.status import ExchangeStatus, JobStatus, Reports, Status

__all__ = ["ExchangeStatus", "JobStatus", "Port", "Reports", "Status"]
