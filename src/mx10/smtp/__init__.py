"""SMTP as a protocol: bytes in, events and bytes out. No socket, no clock, no database.

``ServerSession`` is one connection as the receiver sees it. Whoever has the socket gives it what comes
(``receive``), does what its events ask for, says what is answered (``reply``), and sends what it has to send
(``to_send``). ``ClientSession`` is one as the sender sees it. The sessions themselves know order and syntax of commands
and replies, and what each extension changes about them.

What may live here: RFC 5321 and its extensions. What may not: who is allowed to send what.
"""

from mx10.smtp.client import ClientSession
from mx10.smtp.receiving import ServerOptions
from mx10.smtp.replies import Reply
from mx10.smtp.sending import ClientOptions
from mx10.smtp.server import ServerSession
from mx10.smtp.syntax import MailParameters, RcptParameters

__all__ = [
    "ClientOptions",
    "ClientSession",
    "MailParameters",
    "RcptParameters",
    "Reply",
    "ServerOptions",
    "ServerSession",
]
