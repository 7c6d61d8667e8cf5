"""Zone files at random: valid ones, written in all the ways the format allows."""

from dataclasses import dataclass

from hypothesis import strategies as st

LABELS = st.sampled_from(["a", "b", "www", "Mail", "*", "_tcp", "x-1", "0", "a\\.b", "\\032x", "\\@", "l" * 63, "_25"])
HOSTS = st.sampled_from(["ns1", "Mail", "mail.example.net.", "@", "x.y.z", "EXAMPLE.com."])
NUMBERS = st.integers(0, 65535)
TTLS = st.sampled_from([0, 1, 60, 3600, 86400, 2147483647])
STRINGS = st.text(alphabet="ab ;()\\\"'@$é", max_size=12) | st.sampled_from(["v=spf1 -all", "x" * 255, ""])


def quoted(text: str) -> str:
    """A string in quotes, with the escapes it needs."""
    octets = text.encode("latin-1")
    return '"' + "".join(chr(o) if 32 <= o < 127 and o not in b'"\\' else f"\\{o:03d}" for o in octets) + '"'


def data() -> st.SearchStrategy[tuple[str, list[str]]]:
    """A type and the words of its data."""
    number = NUMBERS.map(str)
    small = st.integers(0, 255).map(str)
    address = st.ip_addresses(v=4).map(str)
    hexadecimal = st.binary(min_size=1, max_size=20).map(bytes.hex)
    return st.one_of(
        st.tuples(st.just("A"), st.tuples(address)),
        st.tuples(st.just("AAAA"), st.tuples(st.ip_addresses(v=6).map(str))),
        st.tuples(st.just("MX"), st.tuples(number, HOSTS)),
        st.tuples(st.just("TXT"), st.lists(STRINGS.map(quoted), min_size=1, max_size=3)),
        st.tuples(st.just("SRV"), st.tuples(number, number, number, HOSTS)),
        st.tuples(st.just("PTR"), st.tuples(HOSTS)),
        st.tuples(st.just("CAA"), st.tuples(small, st.sampled_from(["issue", "iodef"]), STRINGS.map(quoted))),
        st.tuples(st.just("TLSA"), st.tuples(st.just("3"), st.just("1"), st.just("1"), st.just("ab" * 32))),
        st.tuples(st.just("HINFO"), st.tuples(STRINGS.map(quoted), STRINGS.map(quoted))),
        st.tuples(st.just("DS"), st.tuples(number, st.just("8"), st.just("2"), st.just("AB" * 32))),
        st.tuples(
            st.sampled_from(["TYPE65280", "TYPE731"]), hexadecimal.map(lambda text: ("\\#", str(len(text) // 2), text))
        ),
        st.tuples(st.just("TYPE1"), address.map(lambda text: ("\\#", "4", bytes(map(int, text.split("."))).hex()))),
    ).map(lambda pair: (pair[0], list(pair[1])))


@dataclass
class Written:
    """How one record is written."""

    owner: str
    rrtype: str
    words: list[str]
    ttl: int
    ttl_form: int
    klass: int
    parentheses: int
    comment: bool
    omit_owner: bool
    origin: str | None


def written() -> st.SearchStrategy[Written]:
    owner = st.just("@") | st.lists(LABELS, min_size=1, max_size=3).map(".".join)
    return st.builds(
        lambda owner, pair, *rest: Written(owner, pair[0], pair[1], *rest),
        owner,
        data(),
        TTLS,
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 3),
        st.booleans(),
        st.booleans(),
        st.sampled_from([None, None, None, "sub", "example.com.", "example.com.", "b.example.com."]),
    )


@st.composite
def zone_texts(draw: st.DrawFn) -> str:
    """The text of a valid zone example.com; no record set has two TTLs (readers differ there)."""
    lines = [
        "$TTL 1h",
        "@ IN SOA ns1 host\\.master 1 2h 30m 2w 1h",
        "@ NS ns1",
        "@ NS ns2.example.net.",
        "ns1 A 192.0.2.1",
    ]
    lines.append("$ORIGIN example.com.")
    default, depth = 3600, 0
    last: str | None = None
    for each in draw(st.lists(written(), max_size=12)):
        if each.origin is not None and (each.origin != "sub" or depth < 2):
            lines.append(f"$ORIGIN {each.origin}{' ; there' if each.comment else ''}")
            depth = depth + 1 if each.origin == "sub" else 0
        ttl = default
        if each.ttl_form == 1:
            default = ttl = _ttl_of(each.rrtype)
            lines.append(f"$TTL {ttl}")
        elif _ttl_of(each.rrtype) != default or each.ttl_form:
            ttl = _ttl_of(each.rrtype)
        owner = each.owner
        if each.omit_owner and last is not None and each.origin is None:
            owner = " "
        if each.rrtype == "DS" and owner in ("@", " "):
            owner = "d"  # never at the apex
        last = owner
        head = [owner]
        shown = "" if ttl == default and each.ttl_form == 1 else str(ttl)
        klass = ["", "IN", "in", "CLASS1"][each.klass]
        head += [word for word in ([shown, klass] if each.ttl_form % 2 else [klass, shown]) if word]
        words = list(each.words)
        if each.parentheses == 1:
            words = ["(", *words, ")"]
        elif each.parentheses == 2:
            words = [words[0], "(\n", *words[1:], ";)\n", ")"]
        lines.append("\t".join([*head, each.rrtype, *words]) + (' ; (what"' if each.comment else ""))
        if each.comment:
            lines.append('  ; " ( nothing')
    return "\n".join(lines) + "\n"


def _ttl_of(rrtype: str) -> int:
    return {"A": 3600, "TYPE1": 3600, "MX": 60, "TXT": 0, "SRV": 2147483647}.get(rrtype, 300)
