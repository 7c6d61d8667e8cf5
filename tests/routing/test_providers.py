"""Who runs an exchanger."""

import pytest

from mx10.routing.providers import provider_of, providers
from tests.routing.dns_world import name


@pytest.mark.parametrize(
    ("exchanger", "provider"),
    [
        ("aspmx.l.google.com", "Google Workspace"),
        ("smtp.google.com", "Google Workspace"),
        ("example-org.mail.protection.outlook.com", "Microsoft 365"),
        ("example-org.x-v1.mx.microsoft", "Microsoft 365"),
        ("hotmail-com.olc.protection.outlook.com", "Outlook.com"),
        ("mta5.am0.yahoodns.net", "Yahoo"),
        ("mx1.emailsrvr.com", "Rackspace Email"),
        ("mxa.mailgun.org", "Mailgun"),
        ("mx.sendgrid.net", "SendGrid"),
        ("inbound-smtp.eu-west-1.amazonaws.com", "Amazon SES and WorkMail"),
        ("in1-smtp.messagingengine.com", "Fastmail"),
        ("mail.protonmail.ch", "Proton Mail"),
        ("mx.zoho.eu", "Zoho Mail"),
        ("eu-smtp-inbound-1.mimecast.com", "Mimecast"),
        ("mxa-00000001.gslb.pphosted.com", "Proofpoint"),
        ("mx1-us1.ppe-hosted.com", "Proofpoint Essentials"),
        ("d1.ess.barracudanetworks.com", "Barracuda"),
        ("route1.mx.cloudflare.net", "Cloudflare Email Routing"),
        ("mx01.mail.icloud.com", "iCloud Mail"),
        ("mail.tutanota.de", "Tuta"),
        ("mxext1.mailbox.org", "Mailbox.org"),
        ("mx01.posteo.de", "Posteo"),
        ("mx.yandex.net", "Yandex 360"),
        ("emx.mail.ru", "VK WorkMail (Mail.ru)"),
        ("smtp.secureserver.net", "GoDaddy"),
        ("mx1.privateemail.com", "Namecheap"),
        ("mx1.mail.ovh.net", "OVHcloud"),
        ("spool.mail.gandi.net", "Gandi"),
        ("mx00.ionos.de", "IONOS"),
        ("www123.your-server.de", "Hetzner"),
        ("smtpin.rzone.de", "Strato"),
        ("mta-gw.infomaniak.ch", "Infomaniak"),
        ("aspmx1.migadu.com", "Migadu"),
        ("mx1.improvmx.com", "ImprovMX"),
        ("mx1.forwardemail.net", "ForwardEmail"),
        ("mx-01-eu-central-1.prod.hydra.sophos.com", "Sophos"),
        ("esa.hc1-01.eu.iphmx.com", "Cisco Secure Email"),
        ("example.in.tmes.trendmicro.eu", "Trend Micro"),
        ("cust1-1.in.mailcontrol.com", "Forcepoint"),
        ("mx01.hornetsecurity.com", "Hornetsecurity"),
        ("mx1.spamexperts.com", "SpamExperts (N-able Mail Assure)"),
        ("mail.mailroute.net", "Mailroute"),
    ],
)
def test_recognised(exchanger: str, provider: str) -> None:
    assert provider_of([name(exchanger)]) == provider


@pytest.mark.parametrize(
    "exchanger",
    [
        "mx.notgoogle.com",
        "notgoogle.com",
        "google.com.example.org",
        "com",
        "outlook.com",
        "inbound-smtp.amazonaws.com",
        "inbound-smtp.a.b.amazonaws.com",
        "mx.inbound-smtp.amazonaws.com",
    ],
)
def test_whole_labels_only(exchanger: str) -> None:
    assert provider_of([name(exchanger)]) is None


def test_the_first_name_recognised_counts() -> None:
    assert provider_of([name("mx.example.org"), name("mx.zoho.com"), name("smtp.google.com")]) == "Zoho Mail"
    assert provider_of([]) is None
    assert provider_of([b"\0"]) is None


def test_the_table() -> None:
    rows = providers()
    assert len(rows) >= 60
    assert len({row.name for row in rows}) == len(rows)
    patterns = [pattern for row in rows for pattern in row.patterns]
    assert len(set(patterns)) == len(patterns)
    for row in rows:
        assert row.source.startswith("https://"), row.name
        for pattern in row.patterns:
            assert pattern == pattern.lower()
            assert "." in pattern
            assert not {pattern[0], pattern[-1]} & {"*", "."}


def test_a_bad_line_is_named() -> None:
    with pytest.raises(ValueError, match=r"providers\.txt:2"):
        providers("# comment\nonly a name\n")
