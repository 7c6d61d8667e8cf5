"""Whether two domains are of one organization, so that a signature of the one vouches for the other ("relaxed
alignment" of DMARC).

The organization's domain is found by walking up the tree and asking for DMARC records, as the successor of RFC 7489
does (draft-ietf-dmarc-dmarcbis section 4.10), and not from the list of public suffixes: that list has to be kept up to
date on each host, and an old one vouches for strangers. A domain without any such record is an organization of its own.
"""

from collections.abc import Iterable
from typing import Final

from mx10.mailauth.asking import Ask, Status
from mx10.mailauth.dkim import tags

MAX_STEPS: Final = 8
"""Names that are asked for (section 4.10: of longer names, labels in the middle are skipped)."""


async def organization(domain: str, ask: Ask) -> str:
    """The domain of the organization that a domain belongs to.

    Args:
        domain: A-labels in lower case.

    Returns:
        Itself, where nothing says otherwise or the DNS cannot be asked: then nothing else is aligned with it.
    """
    labels = domain.split(".")
    found = domain
    for name in _steps(labels):
        answer = await ask(f"_dmarc.{name}", "TXT")
        if answer.status is Status.FAILED:
            return domain
        records = [each for each in answer.texts if each[:8].lower() == b"v=dmarc1"]
        if len(records) != 1:
            continue
        public = _public_suffix(records[0])
        if public == "n":
            return name
        if public == "y":
            # It is a public suffix itself: the organization is one label below it.
            return ".".join(labels[-name.count(".") - 2 :])
        # The shortest name with a record counts.
        found = name
    return found


def _steps(labels: list[str]) -> Iterable[str]:
    yield ".".join(labels)
    rest = labels[1:] if len(labels) <= MAX_STEPS else labels[1 - MAX_STEPS :]
    while rest:
        yield ".".join(rest)
        rest = rest[1:]


def _public_suffix(record: bytes) -> str:
    """What the tag psd says."""
    try:
        return tags(record.decode()).get("psd", "u").lower()
    except ValueError:
        return "u"


async def aligned(domain: str, signer: str, ask: Ask) -> bool:
    """Whether a signer vouches for a domain. Both in A-labels and lower case."""
    if domain == signer:
        return True
    if domain.split(".")[-2:] != signer.split(".")[-2:]:
        # Organizations have two labels at least: nobody has to be asked about those that share less.
        return False
    return await organization(domain, ask) == await organization(signer, ask)
