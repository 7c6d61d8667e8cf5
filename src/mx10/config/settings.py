"""Every setting of mx10: its key, type, default, limits and meaning. One class a section of ``mx10.toml``.

The text under a field is what ``docs/configuration.md`` prints for it: it names the unit, and the RFC where a value
comes from one. Limits stand in the type: ``Annotated[int, Range(1, 64)]``. Nothing here may import pydantic: it costs
more time than a whole ``mx10 route`` takes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


PREFIX: Final = "MX10_"
"""Of the environment variables that set a key: ``MX10_SECTION__NAME``."""

FILE_VARIABLE: Final = "MX10_CONFIG"
"""The environment variable that names the file."""


class Rule:
    """A limit on a setting's value, in its type: ``Annotated[int, RULE]``."""

    __slots__ = ()

    def check(self, value: Any) -> None:
        """Raise a ValueError that says what a good value looks like, unless this is one."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: object, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """How pydantic asks a type's annotation for its rule."""
        from pydantic_core.core_schema import no_info_after_validator_function

        def checked(value: object) -> object:
            self.check(value)
            return value

        return no_info_after_validator_function(checked, handler(source))


@dataclass(frozen=True, slots=True)
class Range(Rule):
    """A number from ``low`` to ``high``, both included."""

    low: float
    high: float

    def check(self, value: float) -> None:
        # Written so that a NaN fails too.
        if not self.low <= value <= self.high:
            raise ValueError(f"should be from {self.low} to {self.high}")


@dataclass(frozen=True, slots=True)
class Form(Rule):
    """A text of a certain form; ``test`` raises the ValueError."""

    test: Callable[[str], None]

    def check(self, value: str) -> None:
        self.test(value)


@dataclass(frozen=True, slots=True)
class OneOf(Rule):
    """A number out of a few."""

    values: tuple[int, ...]

    def check(self, value: int) -> None:
        if value not in self.values:
            raise ValueError(f"should be one of {', '.join(map(str, self.values))}")


def _address_and_port(text: str) -> None:
    """``192.0.2.1``, ``192.0.2.1:53``, ``2001:db8::1`` or ``[2001:db8::1]:53``."""
    from ipaddress import ip_address

    host, port = text, "53"
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else rest or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ip_address(host)
    except ValueError:
        host = ""
    if not (host and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 0xFFFF):
        raise ValueError("should be an IP address and a port, as in 192.0.2.1:53 or [2001:db8::1]:53")


def _address(text: str) -> None:
    from ipaddress import ip_address

    try:
        ip_address(text)
    except ValueError:
        raise ValueError("should be an IP address, as in 192.0.2.1") from None


def _network(text: str) -> None:
    from ipaddress import ip_network

    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"should be a network, as in 192.0.2.0/24 or 2001:db8::/32 ({error})") from None


def _access_entry(text: str) -> None:
    """``192.0.2.0/24``, ``key:NAME``, or both joined by ``+``; then ``+tls`` perhaps."""
    network, key, name = text.removesuffix("+tls").partition("key:")
    if not key or network:
        _network(network.removesuffix("+") if key else network)
    if key and not (name and name.isascii() and (not network or network.endswith("+"))):
        raise ValueError("should be a network, a key as key:NAME, or both as 192.0.2.0/24+key:NAME")


def _notify_target(text: str) -> None:
    """``192.0.2.1``, ``[2001:db8::1]:53``, each perhaps with ``#KEY``."""
    address, hash_sign, key = text.partition("#")
    _address_and_port(address)
    if hash_sign and not (key and key.isascii()):
        raise ValueError("should be an address, perhaps with a port and a key, as in 192.0.2.1:53#transfer.example")


AddressAndPort = Annotated[str, Form(_address_and_port)]
AccessEntry = Annotated[str, Form(_access_entry)]
NotifyTarget = Annotated[str, Form(_notify_target)]
Address = Annotated[str, Form(_address)]
Network = Annotated[str, Form(_network)]


@dataclass(frozen=True, slots=True)
class NameserverSettings:
    """The authoritative nameserver, ``mx10 serve``."""

    listen: tuple[AddressAndPort, ...] = ("127.0.0.1:5353",)
    """Addresses to answer at, over UDP and TCP. A port below 1024 is bound before the rights of `user` are taken on."""

    zone_dir: Path | None = None
    """Folder of master files, one a zone. A relative one is meant from the folder of the configuration file."""

    workers: Annotated[int, Range(1, 256)] = 1
    """Processes that answer; the kernel shares the questions out among them. One for each core is the most that
    helps.
    """

    answer_cache_mb: Annotated[int, Range(1, 65536)] = 64
    """Memory for compiled answers, in MiB, in each worker."""

    edns_payload: Annotated[int, Range(512, 4096)] = 1232
    """Largest answer over UDP, in octets, for clients that take as much (RFC 6891 section 6.2.3; 1232 passes
    everywhere unfragmented).
    """

    tcp_connections: Annotated[int, Range(1, 1_000_000)] = 1000
    """Open TCP connections in each worker; one more closes the one idle for longest (RFC 7766 section 6.2)."""

    tcp_connections_per_client: Annotated[int, Range(1, 1_000_000)] = 100
    """Open TCP connections from one address in each worker; one more is closed at once."""

    tcp_idle_seconds: Annotated[float, Range(0.1, 3600)] = 10.0
    """Seconds after which a connection is closed that brought no whole question in that time (RFC 7766 section
    6.2.3).
    """

    nsid: str = ""
    """What to answer to those who ask for this server's identifier: NSID (RFC 5001), id.server and hostname.bind.
    Empty: nothing.
    """

    version: str = ""
    """What to answer to version.bind and version.server. Empty: nothing."""

    user: str = ""
    """User whose rights to take on once the ports are bound, when started as root. Empty: `nobody` if a port is
    below 1024, else stay."""

    group: str = ""
    """Group to take on with `user`. Empty: the user's own."""

    run_dir: Path | None = None
    """Folder of the Unix socket `mx10.sock`, by which workers and commands reach the steward. Without a value: the one
    systemd names ($RUNTIME_DIRECTORY), else `/run/mx10` for root, else the store's. Two servers on one machine need
    two.
    """

    tsig_keys: Path | None = None
    """File of TSIG keys (RFC 8945) as BIND writes them and `mx10 tsig` prints them; it is read again when it changes.
    It is read with the rights of `user`.
    """

    allow_transfer: tuple[AccessEntry, ...] = ()
    """Who may fetch zones (AXFR, IXFR): networks, TSIG keys as `key:transfer.example`, or both at once as
    `192.0.2.0/24+key:transfer.example`; `+tls` behind an entry wants TLS as well. What is set for a zone is added.
    """

    notify: tuple[NotifyTarget, ...] = ()
    """Whom to tell when a zone changes (RFC 1996): an address, with a port (53) and a TSIG key as in
    `192.0.2.1:53#transfer.example`. What is set for a zone is added.
    """

    notify_attempts: Annotated[int, Range(1, 30)] = 7
    """How often a NOTIFY is sent until it is answered; the first pause is `notify_seconds`, each further one twice as
    long, up to five minutes.
    """

    notify_seconds: Annotated[float, Range(0.1, 300)] = 2.0
    """Seconds to wait for an answer to a NOTIFY."""

    notify_at_once: Annotated[int, Range(1, 10_000)] = 64
    """NOTIFY messages on their way to one secondary at the same time."""

    catalog: str = ""
    """Name of the catalog zone (RFC 9432) that lists the store's zones for secondaries, as `catalog.example`. mx10
    makes it and keeps it in the store. Empty: none.
    """

    transfers_at_once: Annotated[int, Range(1, 10_000)] = 50
    """Zone transfers to clients at the same time; more wait for up to ten seconds, then they are refused with SERVFAIL.
    """

    transfers_per_client: Annotated[int, Range(1, 10_000)] = 20
    """The same for one address; more wait in the same way."""

    transfer_stall_seconds: Annotated[float, Range(1, 3600)] = 60.0
    """A transfer whose client takes nothing for so many seconds is ended."""

    tls_listen: tuple[AddressAndPort, ...] = ()
    """Addresses to answer at over TLS (RFC 7858, RFC 9103), as `192.0.2.1:853`. Needs `tls_certificate` and `tls_key`.
    """

    quic_listen: tuple[AddressAndPort, ...] = ()
    """Addresses to answer at over QUIC (RFC 9250), as `192.0.2.1:853`. Needs `tls_certificate` and `tls_key`, too."""

    tls_certificate: Path | None = None
    """File (PEM) of the certificate and those that vouch for it; read again on SIGHUP, with the rights of `user`."""

    tls_key: Path | None = None
    """File (PEM) of the certificate's private key."""

    tcp_questions_at_once: Annotated[int, Range(1, 65535)] = 100
    """Questions of one connection that are answered before others get their turn, however many it sent ahead (RFC 7766
    section 6.2.1.1)."""

    responses_per_second: Annotated[int, Range(0, 1_000_000)] = 0
    """Response rate limit: responses of one kind that one network (/24, /56 for IPv6) gets a second over UDP, from all
    workers together. 0: no limit. See `docs/security.md`; 20 suits most.
    """

    rate_limit_window: Annotated[int, Range(1, 3600)] = 15
    """Seconds that a network which asked too much has to keep quiet at most before it is answered again."""

    rate_limit_slip: Annotated[int, Range(0, 100)] = 2
    """Of the responses beyond the limit, one in so many is replaced by a short one that sends the client to TCP; the
    others are dropped. 1: all are replaced, 0: all are dropped.
    """

    rate_limit_exempt: tuple[Network, ...] = ()
    """Networks that are not limited, as `192.0.2.0/24`."""

    rate_limit_entries: Annotated[int, Range(100, 100_000_000)] = 100_000
    """Pairs of network and kind of response that a worker remembers; each takes some 200 octets."""

    rate_limit_log_only: bool = False
    """Count and log what would be limited, and send it all the same: to try a limit out."""

    cookies: bool = True
    """Give DNS cookies (RFC 7873) to clients that ask for them. Who shows a good one is not rate limited."""

    cookie_secrets: Path | None = None
    """File of secrets for cookies, 32 hexadecimal digits a line: the first makes cookies, all are good in those that
    come (RFC 9018). Servers behind one address need the same. It is read at the start and on SIGHUP, with the rights
    of `user`. Without a value: a random one for each start.
    """

    require_cookies: bool = False
    """Over UDP, answer only who shows a good cookie: others are sent for one (BADCOOKIE), or to TCP if they know no
    cookies.
    """

    operations_per_second: Annotated[int, Range(1, 1_000_000)] = 1000
    """Messages other than plain questions (NOTIFY, updates, transfers, whatever is signed) that a worker takes from
    one client (IPv6: one /64 network) a second. More are dropped, over TCP answered with SERVFAIL.
    """

    metrics_listen: tuple[AddressAndPort, ...] = ()
    """Addresses to show metrics at, for Prometheus: `http://ADDRESS:PORT/metrics`. Anybody who reaches it can read
    them.
    """

    query_log_every: Annotated[int, Range(0, 1_000_000_000)] = 0
    """Log one question in so many as a line of JSON on standard output. 1: every question, 0: none."""


@dataclass(frozen=True, slots=True)
class ZoneSettings:
    """Limits on master files, so that none can take all memory or time."""

    max_file_mb: Annotated[int, Range(1, 65536)] = 256
    """Largest master file that is read, in MiB."""

    max_line_bytes: Annotated[int, Range(1024, 1 << 30)] = 1 << 20
    """Longest entry (a line, or several within parentheses), in octets."""

    max_includes: Annotated[int, Range(0, 10_000)] = 100
    """Files that one zone may take in with $INCLUDE, those of included files among them."""

    max_include_depth: Annotated[int, Range(0, 100)] = 10
    """How deep included files may include others."""

    max_generate: Annotated[int, Range(0, 1 << 24)] = 65536
    """Records that one $GENERATE may make."""

    max_records: Annotated[int, Range(1, 1 << 30)] = 1_000_000
    """Records of one zone. A million of them takes about 1 GB of memory while they are read."""

    max_problems: Annotated[int, Range(1, 1_000_000)] = 20
    """Errors, and warnings, told of one zone; after so many errors the rest of its file is not read."""

    tolerate: tuple[str, ...] = ()
    """Codes of zone rules, as `null-mx-not-alone`, whose errors are to be warnings: such a zone is served all the
    same.
    """


def _store_url(text: str) -> None:
    if text and not text.startswith(("sqlite:///", "postgresql://", "postgres://")):
        raise ValueError("should be sqlite:///path/to/file or postgresql://user@host/database")


StoreUrl = Annotated[str, Form(_store_url)]


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The database that keeps zones with their history (`docs/store.md`)."""

    url: StoreUrl = ""
    """Where it is: `sqlite:///path/to/file` (an absolute path begins with a fourth slash) or
    `postgresql://user@host/database`. Empty: the file `mx10.db` in $STATE_DIRECTORY (as systemd sets it), else in
    `/var/lib/mx10` for root, else in `~/.local/state/mx10`. A password is better kept in `~/.pgpass` than here.
    """

    keep_signing_days: Annotated[int, Range(1, 36500)] = 30
    """Days for which the history keeps what was changed by signing alone. A secondary that is further behind gets the
    whole zone instead of what changed; that it was signed, and when, stays on record for ever.
    """


@dataclass(frozen=True, slots=True)
class FollowingSettings:
    """Secondary zones: how their primaries are asked, and how much a transfer may bring."""

    refresh_min_seconds: Annotated[int, Range(1, 86400)] = 60
    """Seconds between two questions for a zone's serial at least, whatever its SOA record says."""

    refresh_max_seconds: Annotated[int, Range(60, 2419200)] = 604800
    """Seconds between two questions for a zone's serial at most, whatever its SOA record says."""

    retry_min_seconds: Annotated[int, Range(1, 86400)] = 15
    """Seconds between two questions at least where the primaries did not answer."""

    expire_min_seconds: Annotated[int, Range(1, 2419200)] = 3600
    """Seconds that a zone is answered at least when its primaries are silent, whatever its SOA record says."""

    answer_seconds: Annotated[float, Range(0.1, 60)] = 5.0
    """Seconds to wait for a primary's answer to the question for the serial; over UDP it is asked three times in them.
    """

    idle_seconds: Annotated[float, Range(0.1, 3600)] = 60.0
    """Seconds that may pass between two messages of a transfer, and while connecting."""

    transfer_seconds: Annotated[int, Range(1, 604800)] = 7200
    """Seconds that one transfer may take in all."""

    transfer_mb: Annotated[int, Range(1, 65536)] = 512
    """MiB of messages that one transfer may have; its records are limited by `zones.max_records`."""

    checks_at_once: Annotated[int, Range(1, 1000)] = 64
    """Zones whose primaries are asked at the same time."""

    transfers_at_once: Annotated[int, Range(1, 100)] = 8
    """Zones that are transferred at the same time; from one primary three quarters of them at most. Once a transfer has
    more than 4 MiB it waits until no other is as large, so that memory is needed for one large zone only; from then on
    it has 15 minutes."""

    ca_file: Path | None = None
    """File (PEM) of the authorities that vouch for primaries spoken to over TLS. Unset: those of the system."""


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """Dynamic updates (RFC 2136): how many may come. Who may send them is set for each zone."""

    rate: Annotated[int, Range(1, 1_000_000)] = 200
    """Updates a second from one client (IPv6: from one /64 network); what exceeds it is answered with REFUSED."""

    waiting: Annotated[int, Range(1, 100_000)] = 1000
    """Updates that may wait to be written; what exceeds it is answered with SERVFAIL."""

    max_records: Annotated[int, Range(1, 65535)] = 5000
    """Records that one update may have in all its sections."""


@dataclass(frozen=True, slots=True)
class DnssecSettings:
    """Signing of zones in the store: what holds for every signed zone that has no policy of its own
    (`mx10 zone sign --help`).
    """

    sign_new_zones: bool = False
    """Sign each zone that is made in the store, or imported into it, at once."""

    algorithm: Annotated[int, OneOf((8, 13, 15))] = 13
    """Of the keys: 13 is ECDSA P-256, 15 Ed25519, 8 RSA with SHA-256 (RFC 8624). Changed for a signed zone, its keys
    are rolled over to the new one step by step (RFC 6781 section 4.1.4).
    """

    keys: Literal["csk", "ksk+zsk"] = "csk"
    """One key that signs all, or one for the keys and one for the rest of the zone."""

    rsa_bits: Annotated[int, Range(2048, 4096)] = 2048
    """Length of new RSA keys, in bits."""

    denial: Literal["nsec", "nsec3", "nsec3-opt-out"] = "nsec"
    """How what is not there is proved. NSEC3 is made without salt and further iterations (RFC 9276); with opt-out,
    insecure delegations stay out of the proofs.
    """

    signature_days: Annotated[int, Range(2, 365)] = 14
    """Days for which a signature is valid."""

    refresh_days: Annotated[int, Range(1, 364)] = 5
    """Days before its end when a signature is made anew; less than `signature_days`."""

    jitter_hours: Annotated[int, Range(0, 720)] = 12
    """Signatures end up to so many hours earlier, at random, so that not all are made anew at once."""

    zsk_days: Annotated[int, Range(0, 36500)] = 90
    """Days after which a zone-signing key is rolled over; 0: never by itself."""

    ksk_days: Annotated[int, Range(0, 36500)] = 0
    """Days after which a key that the parent's DS record points to (KSK, CSK) is rolled over; 0: never by itself."""

    key_file: Path | None = None
    """The file with which private keys are encrypted in the store; it is made with the first key. Without a value:
    beside a SQLite store (`mx10.key` for `mx10.db`), else where that would be. Keep a backup of it apart from those of
    the store: without it no signed zone can be changed.
    """

    passphrase_file: Path | None = None
    """Encrypt private keys by the passphrase in the first line of this file instead, as systemd's credentials give it.
    It cannot be changed once there are keys.
    """

    dnskey_ttl: Annotated[int, Range(1, 604800)] = 3600
    """TTL of the DNSKEY, CDS and CDNSKEY records, in seconds. Each step of a rollover waits for it."""

    propagation_seconds: Annotated[int, Range(0, 604800)] = 3600
    """Seconds until every nameserver of a zone surely has a change, clocks that are wrong included. Each step of a
    rollover waits for it too.
    """

    parent_propagation_seconds: Annotated[int, Range(0, 604800)] = 3600
    """The same for the parent's nameservers, after all of them were seen to have the new DS record."""

    parent_check_seconds: Annotated[int, Range(1, 86400)] = 300
    """Seconds between two look-ups of the DS record while a rollover waits for it; otherwise it is looked up once a
    day.
    """

    parent_servers: tuple[AddressAndPort, ...] = ()
    """Nameservers to ask for DS records. Empty: all those of the parent zone, as the resolver finds them."""


def _domain_or_all(text: str) -> None:
    """``example.com`` or ``*``: names are read whole where they are used."""
    if not text or any(char.isspace() or char == "@" for char in text):
        raise ValueError("should be a domain, as in example.com")


Domain = Annotated[str, Form(_domain_or_all)]


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """The relay: a backup MX, and a sender for those who log in (`docs/relay.md`). It runs where it listens."""

    listen: tuple[AddressAndPort, ...] = ()
    """Addresses to take mail at from other mail servers, as `192.0.2.1:25`; the port wants to be said. Without one the
    relay is off."""

    submission_listen: tuple[AddressAndPort, ...] = ()
    """Addresses for those who log in, as `192.0.2.1:587` (RFC 6409): AUTH is wanted, and TLS before it."""

    submissions_listen: tuple[AddressAndPort, ...] = ()
    """The same with TLS from the first octet, as `192.0.2.1:465` (RFC 8314 section 3.3)."""

    hostname: str = ""
    """Name of this host, in the greeting, in EHLO and in Received; MX records that name it are ours. Empty: the name
    the system has."""

    other_names: tuple[Domain, ...] = ()
    """Further names and addresses by which MX records may mean this host."""

    domains: tuple[Domain, ...] = ()
    """Domains to take mail for, and to pass it on by their MX records to exchangers better than this host, or as
    `transports` says. `mx10 backup` adds some in the store."""

    backup_published: bool = True
    """Take mail also for every zone of the store one of whose MX records names this host."""

    trusted: tuple[Network, ...] = ()
    """Networks that may send to anywhere without logging in. Mind that whatever runs there may, too."""

    users: Path | None = None
    """File of who may log in: a line `NAME SCRAM-SHA-256$...` each, as `mx10 relay-user NAME` prints it. It is read
    again when it changes."""

    tls_certificate: Path | None = None
    """File (PEM) of the certificate and those that vouch for it, for STARTTLS; read again when it changes, with the
    rights of `nameserver.user`. Without one there is no STARTTLS, and nobody can log in."""

    tls_key: Path | None = None
    """File (PEM) of the certificate's private key."""

    message_mb: Annotated[int, Range(1, 2048)] = 50
    """Largest message, in MiB (SIZE, RFC 1870)."""

    recipients: Annotated[int, Range(100, 100_000)] = 1000
    """Recipients of one message; a sender with more is told to send the rest in another (RFC 5321 section 4.5.3.1.8
    wants 100 at least)."""

    door_processes: Annotated[int, Range(0, 32)] = 1
    """Processes that speak with clients, beside the one that keeps and delivers. 0: that one does both, which saves
    some 20 MiB; with a spool in PostgreSQL it always does. Beyond 1, limits of the door are for each process."""

    connections: Annotated[int, Range(1, 1_000_000)] = 1000
    """Connections that are open at the same time; one more is told to come later (421)."""

    command_seconds: Annotated[float, Range(0.1, 3600)] = 300.0
    """Seconds to wait for a client's next command, or for more of its message (RFC 5321 section 4.5.3.2.7)."""

    message_seconds: Annotated[float, Range(1, 86400)] = 3600.0
    """Seconds that a whole message may take, however steadily it trickles in; and how long a connection may go on
    without one."""

    hops: Annotated[int, Range(25, 1000)] = 100
    """Received fields from which on a message is taken to go in circles, and refused (RFC 5321 section 6.3)."""

    transports: tuple[str, ...] = ()
    """Where mail goes against what MX records say, one a domain, `*` for all others (`docs/courier.md`)."""

    vouching: Literal["apart", "always", "never"] = "apart"
    """Which mail from strangers is asked who vouches for its sender (SPF, DKIM): that with recipients of whom nobody
    knows whether they exist (`recipients.unsure`), all, or none. If one of those recipients is refused later, only a
    sender that somebody vouches for hears of it. What was found out is put into Authentication-Results (RFC 8601)."""

    port: Annotated[int, Range(1, 65535)] = 25
    """Port of other exchangers; another one than 25 is for trying things out."""

    ca_file: Path | None = None
    """File (PEM) of authorities whose certificates count where TLS is to be verified. Unset: those of the system."""

    spool: Path | None = None
    """Folder of messages that wait: `spool.db` (with SQLite) and the bodies of large ones. Unset: the folder `spool`
    beside the store."""

    body_in_database_kb: Annotated[int, Range(0, 65536)] = 64
    """Messages up to so many KiB are kept in the database, larger ones as files."""

    loaded: Annotated[int, Range(100, 10_000_000)] = 10_000
    """Recipients that are kept in memory at the same time; all others wait in the database."""

    deliveries: Annotated[int, Range(1, 10_000)] = 200
    """Messages on their way to other hosts at the same time; those that take longer than five seconds do not count, up
    to four times as many."""

    deliveries_per_hop: Annotated[int, Range(1, 1000)] = 20
    """The same to one next hop at most; it begins with two, and learns."""

    messages_per_minute_per_hop: Annotated[int, Range(0, 1_000_000)] = 0
    """Messages that go to one next hop in a minute. 0: no limit."""

    idle_seconds: Annotated[float, Range(0, 300)] = 5.0
    """Seconds that a connection to another host is kept for the next message."""

    local_addresses: tuple[Address, ...] = ()
    """Addresses of this host to connect to other hosts from, one of each family. Empty: the system chooses. A host that
    has several wants the one here that its reverse DNS, and the SPF records of its senders, are about."""

    retry_seconds: Annotated[int, Range(1, 86400)] = 300
    """Seconds to the second attempt. Each further one comes after twice as long, give or take a tenth (RFC 5321
    section 4.5.4.1)."""

    retry_longest_seconds: Annotated[int, Range(1, 604800)] = 14400
    """Seconds between two attempts at most."""

    expire_hours: Annotated[int, Range(1, 2160)] = 120
    """Hours after which a message is returned that could not be delivered."""

    report_expire_hours: Annotated[int, Range(1, 2160)] = 24
    """The same for reports (null return path): nobody hears of it when they are given up."""

    delay_hours: Annotated[int, Range(0, 2160)] = 4
    """Hours after which a sender is told that a message still waits, unless it wanted no such report. 0: never."""

    probe_seconds: Annotated[int, Range(1, 3600)] = 20
    """Seconds after which a next hop that is down is tried again; the pause grows up to `probe_longest_seconds`."""

    probe_longest_seconds: Annotated[int, Range(1, 86400)] = 300
    """Seconds between two such attempts at most: so much after a primary is back its mail begins to flow."""

    metrics_listen: tuple[AddressAndPort, ...] = ()
    """Addresses to show the relay's metrics at, for Prometheus: `http://ADDRESS:PORT/metrics`. Anybody who reaches it
    can read them."""

    postmaster: str = ""
    """Address that gets mail to our postmaster, and double bounces. Empty: such mail is refused, and double bounces
    are dropped, counted and logged."""


@dataclass(frozen=True, slots=True)
class RecipientSettings:
    """Which recipients the relay takes mail for (`docs/backup.md`)."""

    rules: tuple[str, ...] = ("* ask",)
    """Who knows the recipients of a domain, as `example.org list:/etc/mx10/example.org.txt`; `.example.org` means
    every name below it, `*` all others. The sources are `ask` (the domain's primary), `list:FILE`, `pattern:TEXT` with
    `*` and `?`, `sql:FILE`, and `any`: all are known, as they are in a domain without a rule."""

    unsure: Literal["apart", "take", "refuse"] = "apart"
    """What becomes of a recipient of whom nobody can say now whether it exists. `apart`: its mail is taken and kept
    apart, and if it is refused later, only a sender whose domain vouched for the message hears of it. `take`: like any
    other. `refuse`: 450, and the sender keeps the message."""

    known_days: Annotated[int, Range(1, 365)] = 30
    """Days for which it is remembered that a recipient exists."""

    unknown_hours: Annotated[int, Range(1, 720)] = 2
    """Hours for which it is remembered that one does not."""

    refresh_hours: Annotated[int, Range(1, 720)] = 24
    """Hours after which the primary is asked again about a recipient that is known."""

    ask_seconds: Annotated[float, Range(0.1, 240)] = 10.0
    """Seconds that asking a primary may take; a client waits for it."""

    asks_at_once: Annotated[int, Range(1, 1000)] = 50
    """Primaries that are asked at the same time."""


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """What the relay asks of strangers, and how much it takes of whom (`docs/door.md`). Trusted networks, and those who
    logged in, only meet the limits of senders."""

    connections_per_network: Annotated[int, Range(0, 1_000_000)] = 50
    """Connections that one client network may have open at the same time. 0: no limit."""

    connections_per_minute: Annotated[int, Range(0, 1_000_000)] = 600
    """Connections that one client network may make in a minute. This and the limits below are allowances: unused, they
    are whole; used up, they come back evenly. 0: no limit."""

    messages_per_minute: Annotated[int, Range(0, 1_000_000)] = 1200
    """Messages that one client network may begin in a minute. 0: no limit."""

    recipients_per_minute: Annotated[int, Range(0, 1_000_000)] = 6000
    """Recipients that one client network may name in a minute. 0: no limit."""

    mistakes: Annotated[int, Range(0, 1_000_000)] = 100
    """Mistakes that one client network may make in ten minutes: recipients that do not exist or are not ours, wrong
    passwords, commands out of place. Beyond, it is told to come later (421). 0: no limit."""

    sender_messages_per_hour: Annotated[int, Range(0, 1_000_000)] = 0
    """Messages that one user who logged in may send in an hour, or one sender's address from a trusted network. 0: no
    limit."""

    sender_recipients_per_hour: Annotated[int, Range(0, 1_000_000)] = 0
    """Recipients of these messages in an hour. 0: no limit."""

    recipient_messages_per_minute: Annotated[int, Range(0, 1_000_000)] = 600
    """Messages for one recipient that are taken from strangers in a minute. 0: no limit."""

    stranger_sender_messages_per_hour: Annotated[int, Range(0, 1_000_000)] = 0
    """Messages of one sender's address that strangers may begin in an hour, all of them together; reports, which have
    no sender, are not counted. Mind that anybody can name a sender, and so use up what its own mail needs. 0: no
    limit."""

    network_ipv4: Annotated[int, Range(8, 32)] = 32
    """Prefix length of what is one client network, with IPv4."""

    network_ipv6: Annotated[int, Range(16, 128)] = 64
    """The same with IPv6: whoever has one address there mostly has a /64 of them."""

    greet_delay_seconds: Annotated[float, Range(0, 60)] = 0.0
    """Seconds that a stranger waits for the greeting; one that speaks before it is turned away (RFC 5321 section
    4.3.1). Not at ports for users."""

    dnsbl: tuple[str, ...] = ()
    """Lists of clients to ask in the DNS (RFC 5782), as `zen.example.org=3`: the list, and what it counts when a client
    is on it, 1 if nothing is said. `list.example.net=127.0.0.2-4=2` counts some answers only, `127.0.0.[2,10-11]` too.
    A number below zero speaks for a client."""

    dnsbl_threshold: Annotated[int, Range(1, 1000)] = 1
    """From this sum on a client is refused."""

    dnsbl_seconds: Annotated[float, Range(0.1, 60)] = 5.0
    """Seconds to wait for lists; one that did not answer counts nothing."""

    helo: Literal["off", "syntax", "resolves"] = "off"
    """What HELO and EHLO have to name. `syntax`: a domain name with a dot, or the client's own address in brackets, and
    nothing that is ours. `resolves`: a name that has addresses or MX records, too."""

    ptr: Literal["off", "show", "exists", "confirmed"] = "off"
    """What is asked of a client's name by reverse DNS. `show`: nothing, it only stands in Received. `exists`: there has
    to be one. `confirmed`: its address has to be the client's."""

    filters: tuple[str, ...] = ()
    """Filters that see each whole message, one after the other: `milter:127.0.0.1:8891` and
    `milter:/run/opendkim/opendkim.sock` speak the milter protocol, `rspamd:http://127.0.0.1:11333` is Rspamd's."""

    filter_seconds: Annotated[float, Range(0.1, 600)] = 30.0
    """Seconds that each of them may take for one message."""

    filter_failure: Literal["defer", "accept"] = "defer"
    """What becomes of mail while a filter is out of order. `defer`: its senders are told to send it again later (451).
    `accept`: it is taken without that filter."""

    greylist: bool = False
    """Refuse what a stranger sends for the first time, for a while: what comes again is taken (RFC 6647)."""

    greylist_seconds: Annotated[int, Range(1, 86400)] = 60
    """Seconds after which it may come again."""

    greylist_hours: Annotated[int, Range(1, 168)] = 24
    """Hours within which it has to come again; after them it is new."""

    greylist_days: Annotated[int, Range(1, 365)] = 36
    """Days for which what came again is remembered since it last came."""


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    """Looking up: whom to ask and for how long."""

    servers: tuple[AddressAndPort, ...] = ()
    """Nameservers to ask, in order. Empty: those of the system (/etc/resolv.conf)."""

    port: Annotated[int, Range(1, 65535)] = 53
    """Port to ask at where a server's address names none."""

    timeout_seconds: Annotated[float, Range(0.05, 60)] = 3.0
    """Seconds to wait for one answer before the next server is asked."""

    attempts: Annotated[int, Range(1, 10)] = 2
    """How often each server is asked."""

    edns_payload: Annotated[int, Range(512, 4096)] = 1232
    """Largest answer over UDP to ask for, in octets (RFC 6891 section 6.2.3)."""

    cache_entries: Annotated[int, Range(0, 10_000_000)] = 10_000
    """Answers to remember, present and absent (RFC 2308), within one run."""


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """Choosing the hosts that get the mail."""

    public_networks: tuple[Network, ...] = ()
    """Networks to take for public although they are reserved, for a lab or a test network."""

    cname_limit: Annotated[int, Range(1, 64)] = 8
    """CNAME records to follow from one name."""

    exchanger_limit: Annotated[int, Range(1, 1000)] = 100
    """Exchangers of one domain to consider; the others are left out, and a note says so (RFC 5321 section 5.1)."""

    address_limit: Annotated[int, Range(2, 1000)] = 32
    """Addresses of one exchanger to try; RFC 5321 section 5.1 lets a sender set a limit, and asks for two at least."""

    questions_at_once: Annotated[int, Range(1, 10_000)] = 64
    """DNS questions to have open at one time."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least weighty events to log."""

    format: Literal["auto", "human", "json"] = "auto"
    """`human`: for reading; `json`: one object a line; `auto`: human on a terminal, JSON otherwise."""


@dataclass(frozen=True, slots=True)
class LabSettings:
    """The internet in a box, ``mx10 lab up``."""

    address: Address = "127.53.0.53"
    """Loopback address of the lab's forwarding nameserver, the one clients ask."""

    port: Annotated[int, Range(1, 65535)] = 5300
    """Port of every nameserver in the lab."""

    mail_port: Annotated[int, Range(1, 65535)] = 2525
    """Port at which the lab's exchangers take mail; with `--lab`, commands send there."""

    zone_dir: Path | None = None
    """Folder of the lab's zones. Unset: those that come with mx10."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration; every field is a section of ``mx10.toml``."""

    nameserver: NameserverSettings = field(default_factory=NameserverSettings)
    zones: ZoneSettings = field(default_factory=ZoneSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    following: FollowingSettings = field(default_factory=FollowingSettings)
    update: UpdateSettings = field(default_factory=UpdateSettings)
    dnssec: DnssecSettings = field(default_factory=DnssecSettings)
    relay: RelaySettings = field(default_factory=RelaySettings)
    recipients: RecipientSettings = field(default_factory=RecipientSettings)
    door: DoorSettings = field(default_factory=DoorSettings)
    resolver: ResolverSettings = field(default_factory=ResolverSettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    log: LogSettings = field(default_factory=LogSettings)
    lab: LabSettings = field(default_factory=LabSettings)


SECTIONS: Final[dict[str, type]] = {
    "nameserver": NameserverSettings,
    "zones": ZoneSettings,
    "store": StoreSettings,
    "following": FollowingSettings,
    "update": UpdateSettings,
    "dnssec": DnssecSettings,
    "relay": RelaySettings,
    "recipients": RecipientSettings,
    "door": DoorSettings,
    "resolver": ResolverSettings,
    "routing": RoutingSettings,
    "log": LogSettings,
    "lab": LabSettings,
}
"""Section to the class of its settings, in the order in which they are shown."""


def keys() -> dict[str, object]:
    """Every key, ``section.name``, with its default."""
    found: dict[str, object] = {}
    for section, kind in SECTIONS.items():
        default = kind()
        for name in kind.__dataclass_fields__:  # type: ignore[attr-defined]  # SECTIONS holds dataclasses only
            found[f"{section}.{name}"] = getattr(default, name)
    return found


def variable_key(variable: str) -> str:
    """``MX10_NAMESERVER__WORKERS`` to ``nameserver.workers``."""
    return variable.removeprefix(PREFIX).lower().replace("__", ".", 1)
