"""What the rules of zones say about a change.

A zone of up to ``WHOLE`` record sets is looked at whole, before and after the change; only what the change brings
counts, so that a mistake somebody insisted on once does not stop everything that follows. Of a larger zone the rules
see a part: the names touched, those above them, the first ones below where a delegation or a DNAME is touched, the
apex, and the hosts that records of all these name. In that part every rule that is an error finds what it finds in the
whole. Left unseen is an untouched MX or SRV record, or the NS record of another delegation, that points to a touched
name: warnings.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import ancestors, from_order_key, is_under, order_key, to_text
from mx10.zones.build import RRSET_TOO_BIG, TOLERABLE
from mx10.zones.ledger import rows
from mx10.zones.ledger.errors import RuleError
from mx10.zones.ledger.values import GENERATED, Change, ZoneInfo
from mx10.zones.problems import Problem
from mx10.zones.rules import judge
from mx10.zones.view import Finding, View
from mx10.zones.zone import Node, RRset, Zone, add_empty_nonterminals

WHOLE: Final = 1000
"""Record sets up to which a zone is looked at whole."""
_BELOW: Final = 100
"""Names looked at below a delegation or DNAME that is touched."""
_CUTS: Final = frozenset({rr.NS, rr.DNAME})


def refuse_or_tell(
    apex: bytes, findings: Iterable[Finding], settings: ZoneSettings, *, force: bool
) -> tuple[Problem, ...]:
    """Findings as problems: errors first, at most ``zones.max_problems`` of each kind.

    Args:
        force: errors that may be overridden are warnings.

    Raises:
        RuleError: there are errors.
    """
    problems: list[Problem] = []
    for finding in findings:
        kind = finding.kind
        severity = kind.severity
        if kind.code in settings.tolerate or (force and kind.code in TOLERABLE):
            severity = "warning"
        place = to_text(apex, final_dot=False)
        problems.append(Problem(severity, kind.code, place, 0, 0, finding.what, finding.mend or kind.mend, kind.source))
    errors = [each for each in problems if each.severity == "error"][: settings.max_problems]
    warnings = [each for each in problems if each.severity == "warning"][: settings.max_problems]
    if errors:
        raise RuleError(apex, errors + warnings)
    return tuple(warnings)


def of_zone(zone: Zone) -> list[Finding]:
    """What is found in a whole zone."""
    found = list(judge(View(zone)))
    for owner, node in zone.nodes.items():
        for rrtype, rrset in node.items():
            if len(rrset[1]) > 1 and (big := _too_big(owner, rrtype, rrset)):
                found.append(big)
    return found


def of_change(
    connection: Connection, info: ZoneInfo, changes: Sequence[Change], settings: ZoneSettings
) -> list[Finding]:
    """What a change brings.

    Args:
        connection: in it the change is made already.
        info: of the zone before it.
    """
    if info.rrsets <= WHOLE or len(changes) > WHOLE:
        after = _whole(connection, info)
    else:
        after = _part(connection, info, changes)
    found = list(judge(View(Zone(info.apex, _complete(info.apex, after, settings)))))
    found.extend(
        big for change in changes if change.after and (big := _too_big(change.owner, change.type, change.after))
    )
    if found:
        before = _undone(after, changes)
        if rr.SOA in before.get(info.apex, {}):
            known = set(judge(View(Zone(info.apex, _complete(info.apex, before, settings)))))
            found = [each for each in found if each not in known]
    return found


def _whole(connection: Connection, info: ZoneInfo) -> dict[bytes, Node]:
    nodes: dict[bytes, Node] = {}
    names: dict[bytes, bytes] = {}
    for key, rrtype, rrset in rows.iterate(connection, info.id):
        if info.signed and rrtype in GENERATED:
            continue
        owner = names.get(key)
        if owner is None:
            owner = names[key] = from_order_key(key, info.apex)
        nodes.setdefault(owner, {})[rrtype] = rrset
    return nodes


def _part(connection: Connection, info: ZoneInfo, changes: Sequence[Change]) -> dict[bytes, Node]:
    """The names that matter; those that exist only by what is below them are among them, empty."""
    apex = info.apex
    names: dict[bytes, None] = {apex: None}
    for change in changes:
        for name in ancestors(change.owner):
            names[name] = None
            if name == apex:
                break
        if change.type in _CUTS and change.owner != apex:
            for key in rows.below(connection, info.id, order_key(change.owner, apex), _BELOW):
                names[from_order_key(key, apex)] = None
    nodes = _read(connection, info, names)
    # The hosts that are named, what stands above them, and the wildcards that may stand for them.
    targets: dict[bytes, None] = {}
    for owner, node in _undone(nodes, changes).items():
        for present in (node, nodes.get(owner, {})):
            for rrtype, at in ((rr.NS, 0), (rr.MX, 2), (rr.SRV, 6)):
                for data in present.get(rrtype, (0, ()))[1]:
                    target = data[at:].lower()
                    if len(target) > 1 and is_under(target, apex):
                        targets[target] = None
    wanted: dict[bytes, None] = {}
    for target in targets:
        for name in ancestors(target):
            if name not in names:
                wanted[name] = None
            wanted[b"\1*" + name] = None
            if name == apex:
                break
    nodes.update(_read(connection, info, wanted))
    return nodes


def _read(connection: Connection, info: ZoneInfo, names: Iterable[bytes]) -> dict[bytes, Node]:
    by_key = {order_key(name, info.apex): name for name in names}
    found = rows.nodes(connection, info.id, by_key)
    nodes: dict[bytes, Node] = {}
    for key, name in by_key.items():
        node = found.get(key)
        if node is not None:
            nodes[name] = {each: node[each] for each in node if not (info.signed and each in GENERATED)}
        elif rows.below(connection, info.id, key, 1):
            nodes[name] = {}
    return nodes


def _undone(after: dict[bytes, Node], changes: Sequence[Change]) -> dict[bytes, Node]:
    """The names as they were before."""
    before = dict(after)
    for change in changes:
        node = dict(before.get(change.owner, {}))
        if change.before is None:
            node.pop(change.type, None)
        else:
            node[change.type] = change.before
        before[change.owner] = node
        if not node:
            del before[change.owner]
    return before


def _complete(apex: bytes, nodes: dict[bytes, Node], settings: ZoneSettings) -> dict[bytes, Node]:
    complete = dict(nodes)
    add_empty_nonterminals(apex, complete, settings.max_records)
    return complete


def _too_big(owner: bytes, rrtype: int, rrset: RRset) -> Finding | None:
    """As ``zones.build`` counts: owner (compressed), type, class, TTL and length take 12 octets a record."""
    datas = rrset[1]
    if sum(map(len, datas)) + 12 * len(datas) <= 65535 - 12 - 4 - len(owner):
        return None
    what = f"the {len(datas)} {rr.type_to_text(rrtype)} records of {to_text(owner)} do not fit into a message"
    return Finding(RRSET_TOO_BIG, owner, rrtype, None, "owner", what)
