"""OpenSMTPD, taking mail on loopback ports into a Maildir, and passing all other mail to one host."""

from pathlib import Path

from peers.unpacked import DOMAIN, INSIDE, USER, MailServer

_CONFIGURATION = """\
pki receiver cert "{work}/certificate.pem"
pki receiver key "{work}/key.pem"
smtp max-message-size 1M
listen on 127.0.0.1 port {port} tls pki receiver hostname mx.{domain}
listen on 127.0.0.1 port {implicit} smtps pki receiver hostname mx.{domain}
table boxes {{ "{user}@{domain}" = nobody }}
action "box" maildir "{work}/mail/box" virtual <boxes>
action "onward" relay host "{scheme}://127.0.0.1:{onward}"
match from any for domain "{domain}" action "box"
match from any for any action "onward"
"""


class OpenSmtpd(MailServer):
    """One of it.

    Args:
        onward: the port to which mail for other domains goes.
        ours: the domain of its mailbox.
        scheme: how: ``smtp`` (TLS where it is offered), ``smtp+notls``, ``smtp+tls``, ``smtps``.
    """

    PROGRAM = "usr/sbin/smtpd"
    USERS = (("opensmtpd", 3902), ("opensmtpq", 3903))
    SETUP = """\
mount --bind /mnt/usr/libexec /usr/libexec
mount -t tmpfs none /var/spool
mount -t tmpfs none /var/lib
mount -t tmpfs none /run
mkdir -p /var/lib/opensmtpd/empty
mkdir -m 711 /var/spool/smtpd"""

    def __init__(
        self,
        work: Path,
        certificate: Path,
        key: Path,
        *,
        onward: int = 1,
        ours: str = DOMAIN,
        scheme: str = "smtp+notls",
    ) -> None:
        super().__init__(work, certificate, key)
        self.configuration.write_text(
            _CONFIGURATION.format(
                domain=ours,
                user=USER,
                port=self.port,
                implicit=self.implicit_port,
                work=work,
                onward=onward,
                scheme=scheme,
            )
        )

    def command(self) -> list[str]:
        return [str(INSIDE / self.PROGRAM), "-d", "-f", str(self.configuration)]
