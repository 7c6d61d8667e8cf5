"""Files and environment to one configuration, and the words for what is wrong with them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mx10.config import Config, ConfigError, LogSettings, load


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    """``toml(TEXT)``: a configuration file."""

    def write(text: str) -> Path:
        path = tmp_path / "mx10.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


Toml = Callable[[str], Path]


def problems(path: Path | None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    return str(caught.value).split("\n")


def test_defaults_without_file_or_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(None, {"HOME": "/root"})
    assert loaded.config == Config()
    assert loaded.file is None
    assert set(loaded.origins.values()) == {"default"}


def test_a_file_sets_values_and_each_knows_its_line(toml: Toml) -> None:
    path = toml(
        "# what this is for\n"
        "[nameserver]\n"
        "listen = [\n"
        '    "192.0.2.1:53",  # the first\n'
        '    "[2001:db8::1]:53",\n'
        "]\n"
        "tcp_idle_seconds = 3\n"
        "\n"
        "[log]\n"
        'level = "debug"\n'
    )
    loaded = load(path, {})
    assert loaded.config.nameserver.listen == ("192.0.2.1:53", "[2001:db8::1]:53")
    assert loaded.config.nameserver.tcp_idle_seconds == 3.0
    assert isinstance(loaded.config.nameserver.tcp_idle_seconds, float)
    assert loaded.config.log == LogSettings(level="debug")
    assert loaded.origins["nameserver.listen"] == f"{path}:3"
    assert loaded.origins["nameserver.tcp_idle_seconds"] == f"{path}:7"
    assert loaded.origins["log.level"] == f"{path}:10"
    assert loaded.origins["log.format"] == "default"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nameserver.workers = 2", 1),
        ("\n\nnameserver = {workers = 2}", 3),
        ("[nameserver]\nnsid = '''\nworkers = 9\n'''\n\"workers\" = 2", 5),
        ("[zones]\n[nameserver]\r\nworkers = 2\r\n", 3),
        ("\ufeff[nameserver]\nworkers = 2", 2),
    ],
)
def test_lines_of_every_way_to_write_a_key(toml: Toml, text: str, line: int) -> None:
    path = toml(text)
    loaded = load(path, {})
    assert loaded.config.nameserver.workers == 2
    assert loaded.origins["nameserver.workers"] == f"{path}:{line}"


def test_a_variable_goes_before_the_file_and_an_override_before_both(toml: Toml) -> None:
    path = toml("[nameserver]\nworkers = 2\nedns_payload = 4096\n")
    environ = {"MX10_NAMESERVER__WORKERS": "3", "MX10_RESOLVER__SERVERS": "192.0.2.1, [2001:db8::1]:5353"}
    loaded = load(path, environ, {"nameserver.nsid": "here"})
    assert loaded.config.nameserver.workers == 3
    assert loaded.config.nameserver.edns_payload == 4096
    assert loaded.config.nameserver.nsid == "here"
    assert loaded.config.resolver.servers == ("192.0.2.1", "[2001:db8::1]:5353")
    assert loaded.origins["nameserver.workers"] == "MX10_NAMESERVER__WORKERS"
    assert loaded.origins["nameserver.edns_payload"] == f"{path}:3"
    assert loaded.origins["nameserver.nsid"] == "command line"


@pytest.mark.parametrize(
    ("text", "value"),
    [("", ()), ("192.0.2.1", ("192.0.2.1",)), ('["192.0.2.1", "192.0.2.2"]', ("192.0.2.1", "192.0.2.2"))],
)
def test_lists_in_variables(text: str, value: tuple[str, ...]) -> None:
    assert load(None, {"MX10_RESOLVER__SERVERS": text}).config.resolver.servers == value


def test_a_folder_is_meant_from_the_file(toml: Toml, tmp_path: Path) -> None:
    path = toml('[nameserver]\nzone_dir = "zones"\n[lab]\nzone_dir = "/srv/lab"\n')
    config = load(path, {}).config
    assert config.nameserver.zone_dir == tmp_path / "zones"
    assert config.lab.zone_dir == Path("/srv/lab")
    assert load(path, {"MX10_LAB__ZONE_DIR": "lab"}).config.lab.zone_dir == Path("lab")


def test_which_file(toml: Toml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = toml("[nameserver]\nworkers = 2\n")
    other = tmp_path / "other.toml"
    other.write_text("[nameserver]\nworkers = 3\n")
    monkeypatch.chdir(tmp_path)
    assert load(None, {}).config.nameserver.workers == 2
    assert load(None, {"MX10_CONFIG": str(other)}).config.nameserver.workers == 3
    assert load(here, {"MX10_CONFIG": str(other)}).config.nameserver.workers == 2


def test_everything_wrong_is_told_at_once(toml: Toml) -> None:
    path = toml(
        "[nameserver]\n"
        "workrs = 2\n"
        'workers = "two"\n'
        'listen = ["127.0.0.1:53", "localhost:53"]\n'
        "edns_payload = 100\n"
        "[zones]\n"
        "workers = 3\n"
        "[log]\n"
        'level = "loud"\n'
        "[nameservr]\n"
    )
    assert problems(path, MX10_LOG__LEVL="info", MX10_NAMESERVER__TCP_CONNECTIONS="many") == [
        f"{path}:2: nameserver.workrs: no such key; did you mean workers?",
        f"{path}:7: zones.workers: no such key; it belongs in section [nameserver]",
        f"{path}:10: nameservr: no such section; did you mean [nameserver]?",
        "MX10_LOG__LEVL: no such setting; did you mean MX10_LOG__LEVEL?",
        f"{path}:4: nameserver.listen: should be an IP address and a port, as in 192.0.2.1:53 or [2001:db8::1]:53, "
        'not "localhost:53"',
        f'{path}:3: nameserver.workers: should be a valid integer, not "two"',
        f"{path}:5: nameserver.edns_payload: should be from 512 to 4096, not 100",
        'MX10_NAMESERVER__TCP_CONNECTIONS: nameserver.tcp_connections: should be a valid integer, not "many"',
        f"{path}:9: log.level: should be 'debug', 'info', 'warning' or 'error', not \"loud\"",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("workers = 2", ":1: workers: no such key outside a section; it belongs in section [nameserver]"),
        ("nameserver = 3", ":1: nameserver: is a section, not a key; write [nameserver] and its keys below it"),
        ("[[nameserver]]\nworkers = 2", ":1: nameserver: is a section, not a key; write [nameserver] and its keys"),
        ("[nameserver]\nworkers = true", ":2: nameserver.workers: should be a valid integer, not true"),
        ("[nameserver]\nworkers = 2.0", ":2: nameserver.workers: should be a valid integer, not 2.0"),
        (
            "[nameserver]\ntcp_idle_seconds = nan",
            ":2: nameserver.tcp_idle_seconds: should be from 0.1 to 3600, not nan",
        ),
        ("[nameserver]\nlisten = '127.0.0.1:53'", ":2: nameserver.listen: should be a list, not"),
        ("[nameserver]\nnsid = 1979-05-27", ":2: nameserver.nsid: should be a valid string, not 1979-05-27"),
        ("[routing]\npublic_networks = ['192.0.2.1/24']", ":2: routing.public_networks: should be a network, as in"),
        ("[lab]\naddress = 'lab'", ":2: lab.address: should be an IP address, as in 192.0.2.1"),
        ("[nameserver]\nworkers 2", ":2:9: not TOML: Expected '=' after a key in a key/value pair"),
        ("[nameserver]\nnsid = 'x", ":2:10: not TOML: "),
        ("[nameserver]\nworkers = " + "9" * 5000, ": not TOML: "),
        ("[nameserver]\nnsid = " + "[" * 100_000, ": "),
        ("[nameserver]\n" + "x" * 100_000 + " = 1", ":2: nameserver.xxxx"),
        ("# \x00", ":1:3: not TOML: "),
        ('"a\\nb\\u202e" = 1', ":1: a\\nb\\u202e: no such key outside a section"),
        ('[log]\n"a\\nb" = 1', ":2: log.a\\nb: no such key"),
    ],
)
def test_wrong_files(toml: Toml, text: str, told: str) -> None:
    path = toml(text)
    message = problems(path)[0]
    assert message.startswith(f"{path}{told}")
    assert message.isprintable()
    assert len(message) < 600


def test_a_variable_does_not_hide_what_is_wrong_with_the_file(toml: Toml) -> None:
    (message,) = problems(toml("nameserver = 3"), MX10_NAMESERVER__WORKERS="2")
    assert "is a section, not a key" in message


def test_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "mx10.toml"
    path.write_bytes(b"# caf\xe9\n")
    assert problems(path) == [f"{path}:1: not UTF-8; save the file in UTF-8, as TOML demands"]


def test_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "missing.toml"
    told = f"{path}: cannot be read: No such file or directory; check the name given with --config or MX10_CONFIG"
    assert problems(path) == [told]
    assert problems(None, MX10_CONFIG=str(path)) == [told]


def test_not_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path("/dev/zero")):
        assert str(path) in problems(path)[0]
    assert problems(Path("/dev/zero")) == ["/dev/zero: not a regular file; name a file of settings in TOML"]
    assert "cannot be a file's name" in problems(Path("a\0b"))[0]


def test_too_large(tmp_path: Path) -> None:
    path = tmp_path / "mx10.toml"
    path.write_text("#" * (300 * 1024))
    assert problems(path) == [f"{path}: larger than 256 KiB; is it a file of settings?"]


@pytest.mark.parametrize("name", ["MX10_", "MX10_WORKERS", "MX10_NAMESERVER", "MX10_Nameserver__workers", "MX10_A\nB"])
def test_unknown_variables(name: str) -> None:
    (message,) = problems(None, **{name: "2"})
    assert "no such setting; " in message
    assert message.isprintable()


def test_values_that_are_repeated_are_short_and_printable(toml: Toml) -> None:
    (message,) = problems(toml('[log]\nlevel = "' + "x" * 10_000 + '"'))
    assert len(message) < 400
    (message,) = problems(None, MX10_LOG__LEVEL="\x1b[31mred")
    assert message.isprintable()
