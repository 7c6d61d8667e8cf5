"""What a server session is given, and what it tells. Values only."""

from mx10.smtp.auth import Credentials
from mx10.smtp.syntax import MailParameters, RcptParameters
from mx10.values import value_class


@value_class
class ServerOptions:
    """What a session offers, and its limits.

    Attributes:
        hostname: our name, for the greeting.
        size: octets of the largest message.
        recipients: of one message; more are told to come with the next (452).
        mails: messages of one connection.
        errors: mistakes after which the connection is closed.
        starttls: offer it, while there is no TLS yet.
        mechanisms: of AUTH, once there is TLS.
        plaintext_auth: offer AUTH without TLS too.
        extensions: names of further ones that are offered as they are.
    """

    hostname: str
    size: int = 50 << 20
    recipients: int = 1000
    mails: int = 10_000
    errors: int = 10
    starttls: bool = False
    mechanisms: tuple[str, ...] = ()
    plaintext_auth: bool = False
    extensions: tuple[str, ...] = (
        "PIPELINING",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "ENHANCEDSTATUSCODES",
        "DSN",
        "MT-PRIORITY",
    )


@value_class
class Hello:
    """The client said who it is; a message begun is none. Answered already."""

    name: str
    esmtp: bool


@value_class
class Mail:
    """A sender; wants a reply."""

    parameters: MailParameters


@value_class
class Rcpt:
    """A recipient; wants a reply."""

    parameters: RcptParameters


@value_class
class Content:
    """A piece of the message."""

    data: bytes


@value_class
class ContentEnds:
    """The message is whole; wants the reply that takes it, or does not. ``size`` in octets."""

    size: int


@value_class
class Reset:
    """The message begun is none; forget it. Answered already, where something is to be answered."""


@value_class
class StartTls:
    """Send what is to be sent, speak TLS, and then call ``tls_started``."""


@value_class
class Login:
    """A user name with a password; wants a reply: 235 2.7.0, or 535 5.7.8."""

    credentials: Credentials


@value_class
class Scram:
    """Whose keys are needed; give them to ``scram_keys``."""

    user: str


@value_class
class LoggedIn:
    """A user has shown to know the password. Answered already."""

    user: str


@value_class
class Closing:
    """Send what is to be sent, and close. ``why``: for the log; empty after QUIT."""

    why: str = ""


Event = Hello | Mail | Rcpt | Content | ContentEnds | Reset | StartTls | Login | Scram | LoggedIn | Closing
