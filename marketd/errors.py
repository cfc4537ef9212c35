"""The one error tree.

Owns what can go wrong and the exit code that each failure ends a command with. Refuses to carry secrets: a
message names the offending value and the cure, never a password.

    MarketdError
    ├── UsageError              2   wrong argument, unknown exchange or timeframe
    ├── ConfigError            78   configuration refused, all mistakes at once
    ├── SchemaError            78   database too old, too new, incomplete, or another instance's
    ├── PrivilegeError         77   the database role lacks a right
    ├── Busy                   75   another process holds what is needed
    │   └── ExchangeHeld       75   another process works on the exchange
    ├── JobRefused              1   a row of the job table that is not there, or not to be changed like this
    ├── StoreError              1   the database refused
    │   ├── DatabaseUnavailable 69  out of reach, refused password, restarting
    │   ├── DiskFull            1   no space left at the server
    │   └── LeaseLost           75  another process took the exchange over
    └── ExchangeError           1   the exchange did not give what was asked
        ├── Unreachable        69   connection, TLS, time-out, 5xx, HTML: makes lag, never a gap
        ├── Throttled          69   the exchange asked to wait: the whole exchange stops
        ├── BadReply            1   answered, but not usably: refused twice, it is asked in halves
        └── Refused             1   permanent: the parameters are wrong
            ├── UnknownSymbol   1
            ├── UnknownTimeframe 2
            ├── OutOfReach      1   older than what the exchange serves: a bound, not a failure
            └── LimitRefused    1   page size too large: ask again with a smaller one
"""


class MarketdError(Exception):
    """Root of all failures that marketd expects; ``exit_code`` follows sysexits (design: exit codes)."""

    exit_code = 1


def leaf(error: BaseException) -> BaseException:
    """The first real failure inside an exception group, however deep; ``error`` itself when it is no group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class UsageError(MarketdError):
    exit_code = 2


class ConfigError(MarketdError):
    exit_code = 78


class SchemaError(MarketdError):
    exit_code = 78


class PrivilegeError(MarketdError):
    exit_code = 77


class Busy(MarketdError):
    exit_code = 75


class ExchangeHeld(Busy):
    """Another process works on the exchange; ``kind`` is ``daemon`` or ``command``."""

    def __init__(self, exchange: str, kind: str, holder: str) -> None:
        super().__init__(f"{exchange} is worked on by {kind} {holder}")
        self.kind = kind
        self.holder = holder


class JobRefused(MarketdError):
    pass


class StoreError(MarketdError):
    """The database refused a statement; ``sqlstate`` is the server's code or None. ``kind`` is what it counts as."""

    kind = "refused"

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseUnavailable(StoreError):
    exit_code = 69
    kind = "unavailable"


class DiskFull(StoreError):
    exit_code = 1
    kind = "disk_full"


class LeaseLost(StoreError):
    exit_code = 75
    kind = "lease_lost"


class ExchangeError(MarketdError):
    """The exchange did not give what was asked."""


class Unreachable(ExchangeError):
    exit_code = 69


class Throttled(ExchangeError):
    """The exchange asked to wait; ``retry_after_s`` is its own word in seconds, None when it gave none."""

    exit_code = 69

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BadReply(ExchangeError):
    """Answered, but not usably: unreadable body, conflicting duplicates, too many dropped rows."""


class Refused(ExchangeError):
    """Permanent refusal: the same request would be refused again."""


class UnknownSymbol(Refused):
    pass


class UnknownTimeframe(Refused):
    exit_code = 2


class OutOfReach(Refused):
    """The ask begins before what the exchange still serves."""


class LimitRefused(Refused):
    pass
