"""Recipients at the door: whether they exist, and what to do with those of whom nobody can say it now.

``verify.Recipients`` is what the door asks. It has rules (``rules``), lists of addresses (``lists``), questions to
somebody's database (``query``), questions to primaries (``asking``), and a memory of what was said (``memory``).
"""

from mx10.relay.door.recipients.asking import CallAhead, links_for_asking
from mx10.relay.door.recipients.rules import RuleError, parse_rules
from mx10.relay.door.recipients.service import RecipientService
from mx10.relay.door.recipients.values import Answer, Known, Source, Verdict
from mx10.relay.door.recipients.verify import Recipients, check_files

__all__ = [
    "Answer",
    "CallAhead",
    "Known",
    "RecipientService",
    "Recipients",
    "RuleError",
    "Source",
    "Verdict",
    "check_files",
    "links_for_asking",
    "parse_rules",
]
