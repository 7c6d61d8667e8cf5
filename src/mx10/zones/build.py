"""From the records of a file to a zone: record sets, their TTLs, the apex, and what the rules say.

A zone comes out only where no error was found, by the reader or by a rule.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import is_under, to_text
from mx10.zones import problems as p
from mx10.zones.master import Master
from mx10.zones.places import Places
from mx10.zones.plain import Record
from mx10.zones.problems import Problem, Severity, TooManyProblemsError
from mx10.zones.rules import RULES, judge
from mx10.zones.source import Stamp
from mx10.zones.view import Finding, View
from mx10.zones.zone import Node, Zone, add_empty_nonterminals

NO_SOA: Final = p.kind("no-soa", "error", "write the SOA record of the zone first", "RFC 1035 section 5.2")
SEVERAL_SOA: Final = p.kind("several-soa", "error", "keep one of them", "RFC 1035 section 5.2")
SOA_BELOW_APEX: Final = p.kind(
    "soa-below-apex", "error", "put that zone into a file of its own", "RFC 1035 section 5.2"
)
OUT_OF_ZONE: Final = p.kind(
    "out-of-zone", "warning", "remove the record, or end a relative name without a dot", "RFC 1035 section 5.2"
)
DUPLICATE: Final = p.kind("duplicate-record", "warning", "remove one of them", "RFC 2181 section 5")
RRSET_TOO_BIG: Final = p.kind("rrset-too-big", "warning", "remove records until the set fits", "RFC 1035 section 4.2.2")
TTL_DIFFERS: Final = p.kind("ttl-differs", "warning", "give all records of a set the same TTL", "RFC 2181 section 5.2")

TOLERABLE: Final = frozenset(
    [each.kind.code for each in RULES]
    + [kind.code for kind in (SEVERAL_SOA, SOA_BELOW_APEX, OUT_OF_ZONE, DUPLICATE, RRSET_TOO_BIG, TTL_DIFFERS)]
)
"""Codes that ``zones.tolerate`` may name: those of rules, since the others leave no zone to serve."""

# Where in the data of a type the name stands that is compared without regard to case (RFC 4343 section 3).
_NAME_AT: Final = {rr.NS: 0, rr.CNAME: 0, rr.PTR: 0, rr.DNAME: 0, rr.MX: 2, rr.SRV: 6}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file gave: the zone, None where there was an error; the problems; and the stamps of every file it depends
    on."""

    zone: Zone | None
    problems: tuple[Problem, ...]
    stamps: dict[str, Stamp]


class _Findings:
    """What rules found, as far as it is told: a zone of a million mistakes does not need a million sentences.

    Args:
        settings: ``max_problems`` errors and as many warnings are kept; the codes of ``tolerate`` become warnings.
    """

    def __init__(self, settings: ZoneSettings) -> None:
        self._settings = settings
        self.kept: dict[Severity, list[Finding]] = {"error": [], "warning": []}
        self.more_warnings = 0

    def add(self, finding: Finding) -> None:
        if finding.kind.code in self._settings.tolerate:
            finding = replace(finding, kind=replace(finding.kind, severity="warning"))
        kept = self.kept[finding.kind.severity]
        if len(kept) < self._settings.max_problems:
            kept.append(finding)
        elif finding.kind.severity == "warning":
            self.more_warnings += 1

    def report(self, master: Master) -> None:
        """Turn findings into problems at their places, errors first: warnings must not hide them.

        Raises:
            TooManyProblemsError: as many errors were told as may be.
        """
        told = self.kept["error"] + self.kept["warning"]
        if not told:
            return
        places = Places(master, told)
        for finding in told:
            path, line, column = places.find(finding)
            master.problems.add(finding.kind, path, line, column, finding.what, finding.mend)


def build(master: Master, settings: ZoneSettings) -> Loaded:
    """Make a zone of what was read."""
    problems = master.problems
    zone = None
    findings = _Findings(settings)
    with suppress(TooManyProblemsError):
        if not problems.errors:
            zone = _zone(master, settings, findings)
            findings.report(master)
    problems.conclude(master.files[0] if master.files else "", findings.more_warnings)
    return Loaded(None if problems.errors else zone, tuple(problems), master.stamps)


def _zone(master: Master, settings: ZoneSettings, findings: _Findings) -> Zone | None:
    """The zone, if the records make one, and what the rules find in it."""
    apex = _apex(master.records, findings)
    if apex is None:
        master.problems.add(NO_SOA, master.files[0], 0, 0, "the file has no SOA record")
        return None
    nodes = _assemble(apex, master.records, findings)
    if not add_empty_nonterminals(apex, nodes, settings.max_records):
        what = f"the zone has more than {settings.max_records} names, with those that only have names below them"
        master.problems.add(p.TOO_MANY_RECORDS, master.files[0], 0, 0, what)
        return None
    zone = Zone(apex, nodes)
    for finding in judge(View(zone)):
        findings.add(finding)
    return zone


def _apex(records: Iterable[Record], findings: _Findings) -> bytes | None:
    """The owner of the SOA record. Other SOA records are errors, but for the same one again, which closes a zone
    transfer."""
    first: Record | None = None
    for record in records:
        if record[1] != rr.SOA:
            continue
        if first is None:
            first = record
        elif record[0] != first[0]:
            what = f"a second SOA record, for {to_text(record[0])}, stands in the zone {to_text(first[0])}"
            findings.add(Finding(SOA_BELOW_APEX, record[0], rr.SOA, record[3], "owner", what))
        elif record[3] != first[3]:
            what = "the zone has two SOA records that differ"
            findings.add(Finding(SEVERAL_SOA, record[0], rr.SOA, record[3], "owner", what))
    return first and first[0]


def _assemble(apex: bytes, records: Iterable[Record], findings: _Findings) -> dict[bytes, Node]:
    """Record sets by owner and type; records outside the zone are left out, as BIND does."""
    nodes: dict[bytes, Node] = {}
    several: dict[tuple[bytes, int], dict[bytes, bytes]] = {}
    for record in records:
        owner, rrtype, ttl, data, _ = record
        node = nodes.get(owner)
        if node is None:
            if owner != apex and not is_under(owner, apex):
                what = f"{to_text(owner)} is not in the zone {to_text(apex)}; the record is ignored"
                findings.add(Finding(OUT_OF_ZONE, owner, rrtype, data, "owner", what))
                continue
            nodes[owner] = {rrtype: (ttl, (data,))}
            continue
        present = node.get(rrtype)
        if present is None:
            node[rrtype] = (ttl, (data,))
            continue
        key = owner, rrtype
        group = several.get(key)
        if group is None:
            group = several[key] = {canonical(rrtype, present[1][0]): present[1][0]}
        key_of_data = canonical(rrtype, data)
        if key_of_data not in group:
            group[key_of_data] = data
        elif rrtype != rr.SOA:
            what = f"this {rr.type_to_text(rrtype)} record of {to_text(owner)} stands there twice"
            findings.add(Finding(DUPLICATE, owner, rrtype, data, "data", what, nth=2))
        if ttl != present[0]:
            node[rrtype] = (min(ttl, present[0]), present[1])
            # Signatures have the TTLs of what they sign (RFC 4034 section 3), so theirs may differ.
            if rrtype != rr.RRSIG:
                what = f"the {rr.type_to_text(rrtype)} records of {to_text(owner)} have TTLs {present[0]} and {ttl}; "
                what += "the lowest is used for all"
                findings.add(Finding(TTL_DIFFERS, owner, rrtype, data, "ttl", what))
    for (owner, rrtype), group in several.items():
        nodes[owner][rrtype] = (nodes[owner][rrtype][0], tuple(group.values()))
        # Owner (compressed), type, class, TTL and length take 12 octets a record, and header and question some more.
        if sum(map(len, group)) + 12 * len(group) > 65535 - 12 - 4 - len(owner):
            what = f"the {len(group)} {rr.type_to_text(rrtype)} records of {to_text(owner)} do not fit into a message"
            findings.add(Finding(RRSET_TOO_BIG, owner, rrtype, None, "owner", what))
    return nodes


def canonical(rrtype: int, data: bytes) -> bytes:
    """Data in a form in which equal records are equal octets."""
    at = _NAME_AT.get(rrtype)
    return data if at is None else data[:at] + data[at:].lower()
