"""Master files: what each form of RFC 1035 section 5, RFC 2308, RFC 3597 and BIND means, and what is said of
mistakes."""

from pathlib import Path

import pytest

from mx10.config import ZoneSettings
from mx10.dns import wirename
from tests.zones.reading import HEAD, added, load, load_from, records, told, zone_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("www A 192.0.2.7", ["www.example.com. 3600 A 192.0.2.7"]),
        ("WWW IN A 192.0.2.7", ["www.example.com. 3600 A 192.0.2.7"]),
        ("www 60 IN A 192.0.2.7", ["www.example.com. 60 A 192.0.2.7"]),
        ("www in 60 a 192.0.2.7", ["www.example.com. 60 A 192.0.2.7"]),
        ("www 1h1M In a 192.0.2.7", ["www.example.com. 3660 A 192.0.2.7"]),
        ("www CLASS1 TYPE1 \\# 4 c0000207", ["www.example.com. 3600 A 192.0.2.7"]),
        ("www.example.com.\tA\t192.0.2.7\r", ["www.example.com. 3600 A 192.0.2.7"]),
        ("a A 192.0.2.7\n  AAAA ::1", ["a.example.com. 3600 A 192.0.2.7", "a.example.com. 3600 AAAA ::1"]),
        ("a A 192.0.2.7 ; said so\n;\n  ; x\n\t\n A 192.0.2.8",
         ["a.example.com. 3600 A 192.0.2.7", "a.example.com. 3600 A 192.0.2.8"]),
        ("@ MX 10 Mail", ["example.com. 3600 MX 10 Mail.example.com."]),
        ("x MX (10 ; first\n mail ; second\n )", ["x.example.com. 3600 MX 10 mail.example.com."]),
        ("x (\nMX ( 10 )\n) mail\ny A 192.0.2.7",
         ["x.example.com. 3600 MX 10 mail.example.com.", "y.example.com. 3600 A 192.0.2.7"]),
        ("x MX(10)mail;c", ["x.example.com. 3600 MX 10 mail.example.com."]),
        ('x TXT "a b" c', ['x.example.com. 3600 TXT "a b" "c"']),
        ('x TXT "a;b(" ; c"', ['x.example.com. 3600 TXT "a;b("']),
        ('x TXT "a\\"b\\\\" \\;', ['x.example.com. 3600 TXT "a\\"b\\\\" ";"']),
        ('x TXT "\\195\\164"', ['x.example.com. 3600 TXT "\\195\\164"']),
        ('x TXT ( "a"\n "b" )', ['x.example.com. 3600 TXT "a" "b"']),
        ('x TXT "a""b"', ['x.example.com. 3600 TXT "a" "b"']),
        ('x TXT "a\tb"', ['x.example.com. 3600 TXT "a\\009b"']),
        ("a\\.b.c A 192.0.2.7", ["a\\.b.c.example.com. 3600 A 192.0.2.7"]),
        ("\\097 A 192.0.2.7", ["a.example.com. 3600 A 192.0.2.7"]),
        ("*.x A 192.0.2.7", ["*.x.example.com. 3600 A 192.0.2.7"]),
        ("_25._tcp.x TLSA 3 1 1 00ff", ["_25._tcp.x.example.com. 3600 TLSA 3 1 1 00FF"]),
        ("x TYPE65280 \\# 2 ( ab\ncd )", ["x.example.com. 3600 TYPE65280 \\# 2 ABCD"]),
        ('x SVCB 1 . alpn="h2,h3" port=443', ['x.example.com. 3600 SVCB 1 . alpn="h2,h3" port="443"']),
        ("$ORIGIN sub\nx A 192.0.2.7\n@ A 192.0.2.8\n$ORIGIN example.com.\ny A 192.0.2.9",
         ["sub.example.com. 3600 A 192.0.2.8",
          "x.sub.example.com. 3600 A 192.0.2.7", "y.example.com. 3600 A 192.0.2.9"]),
        ("$ttl 5\nx A 192.0.2.7\n$TTL 1d\ny A 192.0.2.8\nz 7 A 192.0.2.9\ny AAAA ::1",
         ["x.example.com. 5 A 192.0.2.7", "y.example.com. 86400 A 192.0.2.8", "y.example.com. 86400 AAAA ::1",
          "z.example.com. 7 A 192.0.2.9"]),
        ("IN A 192.0.2.7", ["in.example.com. 3600 A 192.0.2.7"]),
    ],
)  # fmt: skip
def test_a_text_means(text: str, expected: list[str]) -> None:
    assert added(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x A 192.0.2", ["1:5 bad-data"]),
        ("x A", ["1:3 bad-data"]),
        ("x", ["1:1 no-type"]),
        ("x 5 IN", ["1:5 no-type"]),
        ('x "A" 192.0.2.7', ["1:3 no-type"]),
        ("x IN B 192.0.2.7", ["1:6 unknown-type"]),
        ("x 5 6 A 192.0.2.7", ["1:5 unknown-type"]),
        ("x IN IN A 192.0.2.7", ["1:6 unknown-type"]),
        ("x CH TXT a", ["1:3 class-not-in"]),
        ("x CLASS3 TXT a", ["1:3 class-not-in"]),
        ("x ANY 192.0.2.7", ["1:3 class-not-in"]),
        ("x AXFR a", ["1:3 meta-type"]),
        ("x TYPE41 \\# 0", ["1:3 meta-type"]),
        ("x 2147483648 A 192.0.2.7", ["1:3 bad-ttl"]),
        ("x 9999999999 A 192.0.2.7", ["1:3 bad-ttl"]),
        ("x 1h2 A 192.0.2.7", ["1:3 bad-ttl"]),
        ("$TTL 2147483648", ["1:6 bad-ttl"]),
        ("$TTL", ["1:1 bad-directive"]),
        ("$TTL 1 2", ["1:8 bad-directive"]),
        ("$ORIGIN", ["1:1 bad-directive"]),
        ("$WHAT x", ["1:1 unknown-directive"]),
        ("a..b A 192.0.2.7", ["1:1 bad-name"]),
        (f"{'x' * 64} A 192.0.2.7", ["1:1 bad-name"]),
        (f"{'x.' * 127}example.com. A 192.0.2.7", ["1:1 bad-name"]),
        ('"x" A 192.0.2.7', ["1:1 bad-name"]),
        ("\\999 A 192.0.2.7", ["1:1 bad-name"]),
        ('x TXT "abc\ny A 192.0.2.7', ["1:7 unclosed-quote"]),
        ("x TXT abc\\", ["1:10 lone-backslash"]),
        ("x MX 10 mail )", ["1:14 unopened-parenthesis"]),
        ("x MX ( 10 mail\ny A 192.0.2.7", ["1:6 unclosed-parenthesis"]),
        ("x TXT a\0b", ["1:8 bad-character"]),
        ('x TXT "a\x07b"', ["1:9 bad-character"]),
        ("x\x0c A 192.0.2.7", ["1:2 bad-character"]),
        ("\x0c", ["1:1 bad-character"]),
        ("\u2003", ["1:1 not-ascii"]),
        ("x A 192.0.2.7\nmünchen A 192.0.2.7", ["2:2 not-ascii"]),
        ("x MX 10 \udcff", ["1:9 not-ascii"]),
        ("x TXT ²", ["1:7 not-ascii"]),
        ("$TTL ٣", ["1:6 not-ascii"]),
        ("x A 1\ny A 2\nz A 3", ["1:5 bad-data", "2:5 bad-data", "3:5 bad-data"]),
        ("x MX (\n 10\n  a..b )", ["3:3 bad-data"]),
    ],
)
def test_a_mistake_is_told_at_its_word(text: str, expected: list[str]) -> None:
    assert told(text) == expected


def test_a_problem_says_file_line_column_what_and_mend() -> None:
    (problem,) = load(HEAD + "x A 192.0.2").problems
    assert str(problem) == (
        "test.zone:6:5: error: '192.0.2' is not an IPv4 address; "
        "write four numbers from 0 to 255 with dots, as 192.0.2.1 [bad-data, RFC 1035 section 5.1]"
    )


def test_a_name_that_is_not_ascii_is_told_with_its_a_label() -> None:
    (problem,) = load(HEAD + "@ MX 10 mail.münchen.de.").problems
    assert problem.mend == "write mail.xn--mnchen-3ya.de."
    assert problem.column == 15


def test_a_string_that_is_not_ascii_is_told_with_its_escapes() -> None:
    (problem,) = load(HEAD + '@ TXT "ä"').problems
    assert problem.mend == 'write "\\195\\164"'


def test_comments_may_hold_anything() -> None:
    assert added('; \0 \x07 münchen \udcff " ( \nx A 192.0.2.7 ; ä ( "') == ["x.example.com. 3600 A 192.0.2.7"]


def test_a_record_without_indentation_gets_a_hint() -> None:
    (problem,) = load(HEAD + "MX 10 mail").problems
    assert "begin the line with the owner name, or with white space" in problem.mend


def test_the_first_record_needs_an_owner() -> None:
    (problem,) = load(" A 192.0.2.7").problems[:1]
    assert problem.code == "no-owner"


def test_without_origin_relative_names_are_errors() -> None:
    text = HEAD.replace("@", "example.com.")
    found = load(text, origin=None).problems
    assert {problem.code for problem in found} == {"no-origin"}
    assert [problem.line for problem in found] == [2, 3, 5]
    assert load("$ORIGIN example.com.\n" + HEAD, origin=None).zone


class TestTimeToLive:
    """Which TTL a record gets that says none."""

    SOA = "@ SOA ns1 hostmaster 1 2h 30m 2w 300\n@ NS ns1\n@ NS ns2.example.net.\nns1 A 192.0.2.1\n"

    def test_from_the_soa_for_want_of_better(self) -> None:
        loaded = load(self.SOA)
        assert [problem.code for problem in loaded.problems] == ["ttl-from-soa"]
        assert loaded.zone is not None
        assert {record[1] for record in records(loaded.zone)} == {300}

    def test_the_last_one_by_rfc_1035(self) -> None:
        loaded = load("@ 600" + self.SOA[1:])
        assert [problem.code for problem in loaded.problems] == ["ttl-from-last"]
        assert loaded.zone is not None
        assert {record[1] for record in records(loaded.zone)} == {600}

    def test_none_at_all_is_an_error(self) -> None:
        assert [problem.code for problem in load("ns1 A 192.0.2.1\n" + self.SOA).problems] == ["no-ttl", "ttl-from-soa"]

    def test_the_greatest_ttl_is_allowed(self) -> None:
        assert added("x 2147483647 A 192.0.2.7") == ["x.example.com. 2147483647 A 192.0.2.7"]


class TestInclude:
    """$INCLUDE: other files of the folder, and nothing else."""

    def test_origin_and_owner_come_back_and_ttl_stays(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "more.inc").write_text("a A 192.0.2.7\n$TTL 5\nb A 192.0.2.8\n$ORIGIN zz\nc A 192.0.2.9\n")
        text = HEAD + "x A 192.0.2.6\n$INCLUDE sub/more.inc foo\n AAAA ::1\n"
        (tmp_path / "example.com.zone").write_text(text)
        loaded = load_from(tmp_path, "example.com.zone")
        assert loaded.zone is not None, loaded.problems
        assert records(loaded.zone) - records(zone_of("")) == {
            ("x.example.com.", 3600, "A", "192.0.2.6"),
            ("a.foo.example.com.", 3600, "A", "192.0.2.7"),
            ("b.foo.example.com.", 5, "A", "192.0.2.8"),
            ("c.zz.foo.example.com.", 5, "A", "192.0.2.9"),
            ("x.example.com.", 5, "AAAA", "::1"),
        }
        assert set(loaded.stamps) == {str(tmp_path / "example.com.zone"), str(tmp_path / "sub" / "more.inc")}

    def test_problems_name_the_included_file(self, tmp_path: Path) -> None:
        (tmp_path / "more.inc").write_text("\nx A nonsense\n")
        (tmp_path / "example.com.zone").write_text(HEAD + "$INCLUDE more.inc\ny A 1\n")
        found = load_from(tmp_path, "example.com.zone").problems
        assert [(Path(problem.path).name, problem.line) for problem in found] == [
            ("more.inc", 2),
            ("example.com.zone", 7),
        ]

    def test_rules_name_the_included_file(self, tmp_path: Path) -> None:
        (tmp_path / "more.inc").write_text("x CNAME y\n")
        (tmp_path / "example.com.zone").write_text(HEAD + "x A 192.0.2.7\n$INCLUDE more.inc\n")
        (problem,) = load_from(tmp_path, "example.com.zone").problems
        assert (Path(problem.path).name, problem.line, problem.column) == ("more.inc", 1, 3)

    @pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "sub/../../secret", "link", "linked/passwd"])
    def test_no_way_out_of_the_folder(self, tmp_path: Path, target: str) -> None:
        (tmp_path / "secret").write_text("x A 192.0.2.7\n")
        folder = tmp_path / "zones"
        (folder / "sub").mkdir(parents=True)
        (folder / "link").symlink_to("../secret")
        (folder / "linked").symlink_to("/etc")
        (folder / "example.com.zone").write_text(HEAD + f"$INCLUDE {target}\n")
        (problem,) = load_from(folder, "example.com.zone").problems
        assert problem.code == "outside-folder"
        assert (problem.line, problem.column) == (6, 10)

    def test_an_absolute_path_inside_is_allowed(self, tmp_path: Path) -> None:
        (tmp_path / "more.inc").write_text("x A 192.0.2.7\n")
        (tmp_path / "example.com.zone").write_text(HEAD + f'$INCLUDE "{tmp_path}/more.inc"\n')
        assert not load_from(tmp_path, "example.com.zone").problems

    @pytest.mark.parametrize(
        ("target", "code"),
        [("missing.inc", "unreadable"), ("sub", "not-a-file"), ("fifo", "not-a-file"), ("a\\000b", "unreadable"),
         ("example.com.zone", "include-loop"), ("other.inc", "include-loop"), ("big.inc", "file-too-big")],
    )  # fmt: skip
    def test_what_cannot_be_included(self, tmp_path: Path, target: str, code: str) -> None:
        import os

        (tmp_path / "sub").mkdir()
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "other.inc").write_text("$INCLUDE ./other.inc\n")
        with (tmp_path / "big.inc").open("wb") as big:
            big.truncate(2 << 20)
        (tmp_path / "example.com.zone").write_text(HEAD + f"$INCLUDE {target}\n")
        (problem,) = load_from(tmp_path, "example.com.zone", ZoneSettings(max_file_mb=1)).problems
        assert problem.code == code

    def test_depth_and_number_have_limits(self, tmp_path: Path) -> None:
        for depth in range(20):
            (tmp_path / f"{depth}.inc").write_text(f"$INCLUDE {depth + 1}.inc\n")
        (tmp_path / "20.inc").write_text("")
        (tmp_path / "a.zone").write_text("$INCLUDE 0.inc\n")
        (tmp_path / "b.zone").write_text("$INCLUDE 20.inc\n" * 200)
        assert [problem.code for problem in load_from(tmp_path, "a.zone").problems] == ["include-too-deep"]
        settings = ZoneSettings(max_problems=1)
        assert [each.code for each in load_from(tmp_path, "b.zone", settings).problems] == [
            "too-many-includes",
            "too-many-problems",
        ]

    def test_a_text_has_no_folder(self) -> None:
        assert told("$INCLUDE x.inc") == ["1:10 outside-folder"]


class TestGenerate:
    """$GENERATE, as BIND has it; the comparison with BIND itself is in tests/peers."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("1-2 a$ A 192.0.2.$", ["a1.example.com. 3600 A 192.0.2.1", "a2.example.com. 3600 A 192.0.2.2"]),
            ("9-12/3 a$ 60 IN A 192.0.2.$", ["a12.example.com. 60 A 192.0.2.12", "a9.example.com. 60 A 192.0.2.9"]),
            ("1-1 a${2,3} A 192.0.2.${-1}", ["a003.example.com. 3600 A 192.0.2.0"]),
            ("10-10 a${5,4,x}.${0,0,X}.${0,3,o} A 192.0.2.1", ["a000f.a.012.example.com. 3600 A 192.0.2.1"]),
            ("1-1 a${5}.$ A 192.0.2.$", ["a6.1.example.com. 3600 A 192.0.2.1"]),  # BIND 9.18 makes it a6.6
            ("300-300 ${0,5,n} PTR x$$", ["c.2.1.example.com. 3600 PTR x\\$.example.com."]),
            ("300-300 ${0,0,N}.e PTR x\\$", ["c.2.1.e.example.com. 3600 PTR x\\$.example.com."]),
            ('1-1 a MX "1$ m$"', ["a.example.com. 3600 MX 11 m1.example.com."]),
            ("1-1 a MX 1$ m$", ["a.example.com. 3600 MX 11 m1.example.com."]),
        ],
    )
    def test_makes(self, text: str, expected: list[str]) -> None:
        assert added("$GENERATE " + text) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("1-2 a$ A", ["1:1 bad-directive"]),
            ("1-2 a$ 60 A", ["1:21 bad-generate"]),
            ("2-1 a$ A 192.0.2.$", ["1:11 bad-generate"]),
            ("1-2/0 a$ A 192.0.2.$", ["1:11 bad-generate"]),
            ("x a$ A 192.0.2.$", ["1:11 bad-generate"]),
            ("1-4294967295 a$ A 192.0.2.$", ["1:11 bad-generate"]),
            ("0-4294967295 a$ A 192.0.2.$", ["1:11 bad-generate"]),
            ("0-2147483647 a$ A 192.0.2.$", ["1:11 generate-too-many"]),
            ("1-2 a${1 A 192.0.2.$", ["1:15 bad-generate"]),
            ("1-2 a${1,2,q} A 192.0.2.$", ["1:15 bad-generate"]),
            ("1-2 a${1,999} A 192.0.2.$", ["1:15 bad-generate"]),
            ("1-2 a${-5,1,x} A 192.0.2.$", ["1:15 bad-generate"]),
            ("1-2 a$ A 192.0.2.${-5}", ["1:20 bad-data"]),
            ("255-300 a$ A 192.0.2.$", ["1:24 bad-data"]),
            (f"1-2 {'$' * 125} A 192.0.2.1", []),
            (f"1-2 {'$.' * 65}x A 192.0.2.1", ["1:15 bad-generate"]),
        ],
    )
    def test_mistakes(self, text: str, expected: list[str]) -> None:
        assert told("$GENERATE " + text) == expected

    def test_does_not_change_the_owner(self) -> None:
        assert "x.example.com. 3600 AAAA ::1" in added("x A 192.0.2.7\n$GENERATE 1-1 a$ A 192.0.2.$\n AAAA ::1")


def test_what_dig_prints_for_a_transfer_can_be_read() -> None:
    text = """
; <<>> DiG 9.18.49 <<>> @127.0.0.1 example.com AXFR
; (1 server found)
;; global options: +cmd
example.com.\t\t3600\tIN\tSOA\tns1.example.com. host.example.com. 1 7200 1800 1209600 3600
example.com.\t\t3600\tIN\tNS\tns1.example.com.
example.com.\t\t3600\tIN\tNS\tns2.example.net.
example.com.\t\t3600\tIN\tTYPE65534\t\\# 5 0A1B2C0001
example.com.\t\t3600\tIN\tTXT\t"a \\"b\\" \\195\\164;"
ns1.example.com.\t3600\tIN\tA\t192.0.2.1
example.com.\t\t3600\tIN\tSOA\tns1.example.com. host.example.com. 1 7200 1800 1209600 3600
;; Query time: 0 msec
;; SERVER: 127.0.0.1#53(127.0.0.1) (TCP)
;; XFR size: 7 records (messages 1, bytes 300)
"""
    loaded = load(text, origin=None)
    assert loaded.zone is not None
    assert not loaded.problems
    assert len(list(loaded.zone.records())) == 6


def test_empty_non_terminals_are_there() -> None:
    zone = zone_of("a.b.c A 192.0.2.7")
    assert zone.nodes[wirename.from_text("b.c.example.com.")] == {}
    assert zone.nodes[wirename.from_text("c.example.com.")] == {}
