"""From zones to a plan: who stands where, and how they behave."""

from pathlib import Path

from mx10.config import ZoneSettings
from mx10.dns.wirename import from_text
from mx10.lab.plan import ANSWER, MailPlace, Manner, Plan, make_plan
from mx10.zones.folder import ZoneFolder

SOA = "$TTL 60\n@ SOA ns.test. h.test. 1 7200 3600 1209600 300\n"
ROOT = f"{SOA}@ NS a.test.\ntest. NS ns.test.\na.test. A 127.53.0.1\nns.test. A 127.53.1.1\n"


def plan_of(folder: Path, **zones: str) -> Plan:
    for name, text in zones.items():
        (folder / f"{name}.zone").write_text(text)
    loaded = ZoneFolder(folder, ZoneSettings())
    loaded.load()
    assert len(loaded.zones) == len(zones)
    return make_plan(loaded.zones)


def test_a_zone_is_served_where_its_nameservers_are(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, root=ROOT, test=f"{SOA}@ NS ns\nns A 127.53.1.1\nns A 127.53.1.2\n")
    assert plan.root == ("127.53.0.1",)
    assert {address: place.zones for address, place in plan.places.items()} == {
        "127.53.0.1": {b"\0"},
        "127.53.1.1": {from_text("test.")},
        "127.53.1.2": {from_text("test.")},
    }
    assert {place.manner for place in plan.places.values()} == {ANSWER}
    assert not plan.remarks


def test_manners(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        root=ROOT,
        test=f"{SOA}@ NS ns\n"
        'ns A 127.53.1.1\nns TXT "v=spf1 -all"\nns TXT "lab slow 0.5"\n'
        'off A 127.53.1.2\noff TXT "lab off"\n'
        "mute A 127.53.1.3\nmute TXT lab silent\n"
        'bad A 127.53.1.4\nbad TXT "lab servfail"\n',
    )
    assert {address: place.manner for address, place in plan.places.items()} == {
        "127.53.0.1": ANSWER,
        "127.53.1.1": Manner("slow", 0.5),
        "127.53.1.2": Manner("off"),
        "127.53.1.3": Manner("silent"),
        "127.53.1.4": Manner("servfail"),
    }


def test_exchangers_that_take_mail(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        root=ROOT,
        test=f"{SOA}@ NS ns\nns A 127.53.1.1\n@ MX 10 Mail\nshop MX 10 mail\nshop MX 20 elsewhere.example.\n"
        'mail A 127.25.0.9\nmail A 127.25.0.10\nmail A 192.0.2.1\nmail TXT "lab mail"\n'
        'alone A 127.25.0.2\nalone TXT "lab" "mail"\n'
        'double A 127.25.0.2\ndouble TXT "lab mail Ann bob"\nfar A 192.0.2.1\nfar TXT "lab mail"\nnot A 127.25.0.3\n',
    )
    assert plan.exchangers == {
        "mail.test": MailPlace(("127.25.0.9", "127.25.0.10"), frozenset({"test", "shop.test", "mail.test"})),
        "alone.test": MailPlace(("127.25.0.2",), frozenset({"alone.test"})),
    }
    assert plan.remarks == (
        "double.test cannot take mail at 127.25.0.2: alone.test is there already",
        "far.test has no address of this machine to take mail at: give it an A record of 127.25.0.0/16",
    )
    # They are no nameservers.
    assert "127.25.0.9" not in plan.places


def test_the_relay_takes_mail_of_those_who_have_better_exchangers(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        root=ROOT,
        test=f"{SOA}@ NS ns\nns A 127.53.1.1\n@ MX 10 backup\n@ MX 10 other\none MX 10 other\none MX 20 backup\n"
        'backup A 127.25.0.9\nbackup TXT "lab relay"\ncopy A 127.25.0.10\ncopy TXT "lab relay"\n'
        'other A 127.25.0.11\nother TXT "lab mail Ann bob"\nwrong TXT "lab relay ann"\n',
    )
    assert plan.exchangers == {
        "backup.test": MailPlace(("127.25.0.9",), frozenset({"one.test"}), relay=True),
        "other.test": MailPlace(
            ("127.25.0.11",), frozenset({"test", "one.test", "other.test"}), frozenset({"ann", "bob"})
        ),
    }
    assert any("copy.test does not run: backup.test is the lab's relay already" in each for each in plan.remarks)
    assert any("'lab relay ann' is no behaviour" in each for each in plan.remarks)


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        root=ROOT,
        test=f"{SOA}@ NS ns\nns A 192.0.2.53\n"
        'a TXT "lab slow nan"\nb TXT "lab slow 1e9"\nc TXT "lab asleep"\nd TXT "lab"\ne TXT "labour"\n',
    )
    assert sum("is no behaviour: write lab off" in remark for remark in plan.remarks) == 4
    assert any("192.0.2.53, which is not of this machine" in remark for remark in plan.remarks)
    # The root's own record of ns.test counts as well as that of its zone.
    assert from_text("test.") in plan.places["127.53.1.1"].zones


def test_nowhere(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, test=f"{SOA}@ NS ns.example.\n")
    assert plan.root == ()
    assert any("test. is served nowhere" in remark for remark in plan.remarks)
    assert any("no root zone" in remark for remark in plan.remarks)
