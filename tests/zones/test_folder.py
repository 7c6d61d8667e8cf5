"""A folder of zones: which files count, what a reload changes, and what stays when a file is bad."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mx10.config import ZoneSettings
from mx10.dns import wirename
from mx10.zones.folder import Changes, ZoneFolder, is_zone_file_name, origin_from_file_name
from mx10.zones.zone import Zone
from tests.zones.reading import HEAD


def name(text: str) -> bytes:
    return wirename.from_text(text)


def codes(changes: Changes) -> list[str]:
    return [problem.code for problem in changes.problems]


@pytest.fixture
def zones(tmp_path: Path) -> Callable[..., ZoneFolder]:
    def make(**files: str) -> ZoneFolder:
        for stem, text in files.items():
            (tmp_path / f"{stem}.example.zone").write_text(text)
        return ZoneFolder(tmp_path, ZoneSettings())

    return make


def rewrite(path: Path, text: str) -> None:
    """Replace a file as editors do: a new one takes its place."""
    new = path.with_suffix(".tmp")
    new.write_text(text)
    new.replace(path)


@pytest.mark.parametrize(
    ("file_name", "origin"),
    [
        ("example.com.zone", "example.com."),
        ("Example.COM.db", "example.com."),
        ("example.com.txt", "example.com."),
        ("db.example.com", "example.com."),
        ("example.com", "example.com."),
        ("example.com.", "example.com."),
        ("root.zone", "."),
        ("_root.zone", "."),
        ("db.root", "."),
        ("a..b.zone", None),
        ("x" * 64 + ".zone", None),
    ],
)
def test_the_origin_by_the_file_name(file_name: str, origin: str | None) -> None:
    assert origin_from_file_name(file_name) == (origin and name(origin))


def test_the_origin_by_a_name_that_is_not_ascii() -> None:
    assert origin_from_file_name("münchen.de.zone") == name("xn--mnchen-3ya.de.")


@pytest.mark.parametrize(
    "file_name",
    [".x.zone", "x.zone~", "x.zone.swp", "x.jnl", "x.inc", "x.zone.tmp", "README.md", "readme", "x.bak", "sedh4k72a"],
)
def test_files_that_are_no_zones(file_name: str) -> None:
    assert not is_zone_file_name(file_name)


@pytest.mark.parametrize("jobs", [1, 2])
def test_loads_the_good_and_tells_of_the_bad(tmp_path: Path, jobs: int) -> None:
    for number in range(600):
        (tmp_path / f"z{number}.example.zone").write_text(HEAD if number % 100 else HEAD + "x A nonsense\n")
    told = []
    folder = ZoneFolder(tmp_path, ZoneSettings())
    problems = folder.load(jobs, lambda done, total: told.append((done, total)))
    assert len(folder.zones) == 594
    assert [problem.code for problem in problems] == ["bad-data"] * 6
    assert [Path(problem.path).name for problem in problems] == sorted(
        f"z{number}.example.zone" for number in range(0, 600, 100)
    )
    assert told[-1] == (600, 600)
    assert Zone.unpack(folder.zones[name("z1.example.")]).serial == 1


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    folder = ZoneFolder(tmp_path / "missing", ZoneSettings())
    (problem,) = folder.load()
    assert problem.code == "unreadable"


def test_a_mistyped_rule_to_tolerate_is_told(tmp_path: Path) -> None:
    settings = ZoneSettings(tolerate=("no-glue", "no-glu", "no-soa"))
    assert [problem.code for problem in ZoneFolder(tmp_path, settings).load()] == ["unknown-rule"] * 2


def test_two_files_for_one_zone(zones: Callable[..., ZoneFolder]) -> None:
    folder = zones(a=HEAD, b="$ORIGIN a.example.\n" + HEAD)
    (problem,) = folder.load()
    assert problem.code == "same-apex"
    assert problem.path.endswith("b.example.zone")
    (folder.folder / "a.example.zone").unlink()
    changes = folder.reload()
    # The other file takes the zone over; its data is the same, but there was a moment without it.
    assert set(changes.changed) == {name("a.example.")}
    assert changes.changed[name("a.example.")] is not None
    assert not changes.problems


class TestReload:
    def test_nothing_changed(self, zones: Callable[..., ZoneFolder]) -> None:
        folder = zones(a=HEAD, b=HEAD)
        folder.load()
        assert folder.reload() == Changes()

    @pytest.mark.parametrize("by_path", [False, True])
    def test_one_of_many(self, zones: Callable[..., ZoneFolder], by_path: bool) -> None:
        folder = zones(a=HEAD, b=HEAD)
        folder.load()
        path = folder.folder / "a.example.zone"
        rewrite(path, HEAD.replace(" 1 2h", " 2 2h"))
        changes = folder.reload([path] if by_path else None)
        assert set(changes.changed) == {name("a.example.")}
        assert Zone.unpack(folder.zones[name("a.example.")]).serial == 2

    def test_a_zone_whose_file_turned_bad_stays(self, zones: Callable[..., ZoneFolder]) -> None:
        folder = zones(a=HEAD)
        folder.load()
        before = dict(folder.zones)
        path = folder.folder / "a.example.zone"
        rewrite(path, HEAD + "x A nonsense\n")
        changes = folder.reload()
        assert (codes(changes), changes.changed, folder.zones) == (["bad-data"], {}, before)
        assert folder.reload() == Changes()  # told once
        rewrite(path, HEAD + "x A 192.0.2.7\n")
        assert set(folder.reload().changed) == {name("a.example.")}

    def test_a_bad_file_that_is_removed_takes_its_zone_along(self, zones: Callable[..., ZoneFolder]) -> None:
        folder = zones(a=HEAD)
        folder.load()
        path = folder.folder / "a.example.zone"
        rewrite(path, "nonsense\n")
        folder.reload()
        path.unlink()
        assert folder.reload([path]).changed == {name("a.example."): None}
        assert not folder.zones

    def test_new_and_gone(self, zones: Callable[..., ZoneFolder]) -> None:
        folder = zones(a=HEAD)
        folder.load()
        (folder.folder / "a.example.zone").rename(folder.folder / "b.example.zone")
        changes = folder.reload()
        assert changes.changed[name("a.example.")] is None
        assert changes.changed[name("b.example.")] is not None
        assert set(folder.zones) == {name("b.example.")}

    def test_a_renamed_file_keeps_its_zone(self, zones: Callable[..., ZoneFolder]) -> None:
        folder = zones(a="$ORIGIN a.example.\n" + HEAD)
        folder.load()
        (folder.folder / "a.example.zone").rename(folder.folder / "other.zone")
        changes = folder.reload()
        assert not changes.problems
        assert set(folder.zones) == {name("a.example.")}
        assert changes.changed.get(name("a.example."), b"") is not None

    def test_another_apex_in_the_file(self, zones: Callable[..., ZoneFolder]) -> None:
        folder = zones(a=HEAD)
        folder.load()
        rewrite(folder.folder / "a.example.zone", "$ORIGIN c.example.\n" + HEAD)
        changes = folder.reload()
        assert changes.changed[name("a.example.")] is None
        assert changes.changed[name("c.example.")] is not None

    def test_two_files_swap_their_zones(self, zones: Callable[..., ZoneFolder]) -> None:
        folder = zones(a="$ORIGIN a.example.\n" + HEAD, b="$ORIGIN b.example.\n" + HEAD)
        folder.load()
        rewrite(folder.folder / "a.example.zone", "$ORIGIN b.example.\n" + HEAD)
        rewrite(folder.folder / "b.example.zone", "$ORIGIN a.example.\n" + HEAD)
        assert folder.reload().problems == []
        assert set(folder.zones) == {name("a.example."), name("b.example.")}

    def test_a_file_that_moves_to_a_zone_of_another_keeps_its_own(self, zones: Callable[..., ZoneFolder]) -> None:
        folder = zones(a=HEAD, b=HEAD)
        folder.load()
        rewrite(folder.folder / "b.example.zone", "$ORIGIN a.example.\n" + HEAD)
        changes = folder.reload()
        assert (codes(changes), changes.changed) == (["same-apex"], {})
        assert set(folder.zones) == {name("a.example."), name("b.example.")}

    @pytest.mark.parametrize("by_path", [False, True])
    def test_an_included_file(self, zones: Callable[..., ZoneFolder], by_path: bool) -> None:
        folder = zones(a=HEAD + "$INCLUDE sub/more.inc\n", b=HEAD)
        (folder.folder / "sub").mkdir()
        more = folder.folder / "sub" / "more.inc"
        assert codes(Changes(problems=folder.load())) == ["unreadable"]
        more.write_text("x A 192.0.2.7\n")
        changes = folder.reload([more] if by_path else None)
        assert set(changes.changed) == {name("a.example.")}
        rewrite(more, "x A 192.0.2.8\n")
        changes = folder.reload([more] if by_path else None)
        assert set(changes.changed) == {name("a.example.")}
        assert folder.reload() == Changes()

    def test_a_link_inside_the_folder(self, zones: Callable[..., ZoneFolder]) -> None:
        folder = zones()
        (folder.folder / ".data").mkdir()
        (folder.folder / ".data" / "1").write_text(HEAD)
        (folder.folder / ".data" / "2").write_text(HEAD.replace(" 1 2h", " 2 2h"))
        link = folder.folder / "a.example.zone"
        link.symlink_to(".data/1")
        assert folder.load() == []
        assert folder.reload() == Changes()
        link.unlink()
        link.symlink_to(".data/2")
        assert set(folder.reload().changed) == {name("a.example.")}

    def test_a_folder_that_goes_away_changes_nothing(self, zones: Callable[..., ZoneFolder], tmp_path: Path) -> None:
        folder = zones(a=HEAD)
        folder.load()
        away = tmp_path.with_name("away")
        tmp_path.rename(away)
        assert codes(folder.reload()) == ["unreadable"]
        assert folder.zones
        away.rename(tmp_path)
        assert not folder.reload().changed

    def test_paths_that_do_not_matter(self, zones: Callable[..., ZoneFolder]) -> None:
        folder = zones(a=HEAD)
        folder.load()
        (folder.folder / "sub").mkdir()
        others = [
            folder.folder / "x.zone~",
            folder.folder / "sub",
            folder.folder / "sub" / "x.zone",
            Path("/etc/passwd"),
        ]
        assert folder.reload(others) == Changes()


class TestOddFiles:
    """Whatever stands there: a clear error, and the others are served."""

    def check(self, folder: Path, code: str, settings: ZoneSettings | None = None) -> None:
        (folder / "good.example.zone").write_text(HEAD)
        zones = ZoneFolder(folder, settings or ZoneSettings())
        problems = zones.load()
        assert [problem.code for problem in problems] == [code]
        assert set(zones.zones) == {name("good.example.")}
        assert zones.reload() == Changes()

    def test_a_fifo(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "x.zone")
        self.check(tmp_path, "not-a-file")

    def test_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "x.zone").mkdir()
        self.check(tmp_path, "not-a-file")

    def test_a_device(self, tmp_path: Path) -> None:
        (tmp_path / "x.zone").symlink_to("/dev/zero")
        self.check(tmp_path, "outside-folder")

    def test_a_link_to_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "x.zone").symlink_to("missing")
        self.check(tmp_path, "unreadable")

    def test_a_link_to_itself(self, tmp_path: Path) -> None:
        (tmp_path / "x.zone").symlink_to("x.zone")
        self.check(tmp_path, "outside-folder")

    @pytest.mark.parametrize("reason", [errno.EACCES, errno.EIO, errno.EMFILE])
    def test_a_file_that_the_system_does_not_open(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
    ) -> None:
        """Put on by hand, since root may read everything and disks seldom fail."""
        (tmp_path / "x.zone").write_text(HEAD)
        really_open = os.open

        def refuse(path: str, *rest: int) -> int:
            if str(path).endswith("x.zone"):
                raise OSError(reason, os.strerror(reason))
            return really_open(path, *rest)

        monkeypatch.setattr(os, "open", refuse)
        self.check(tmp_path, "unreadable")

    def test_a_byte_order_mark_is_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "x.example.zone").write_text("\ufeff" + HEAD + "; ä\n")
        assert ZoneFolder(tmp_path, ZoneSettings()).load() == []

    def test_a_gigabyte(self, tmp_path: Path) -> None:
        with (tmp_path / "x.zone").open("wb") as file:
            file.truncate(1 << 30)
        self.check(tmp_path, "file-too-big")

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "x.zone").touch()
        self.check(tmp_path, "no-soa")

    def test_a_reader_that_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As the system does when memory runs out."""
        from mx10.zones import folder as module

        read = module.load_file

        def read_or_die(folder: str, name: str, *rest: object) -> object:
            if name == "z300.example.zone":
                os._exit(9)
            return read(folder, name, *rest)  # type: ignore[arg-type]  # passed on as it came

        monkeypatch.setattr(module, "load_file", read_or_die)
        for number in range(255):
            (tmp_path / f"z{number}.example.zone").write_text(HEAD)
        (tmp_path / "z300.example.zone").write_text(HEAD)
        zones = ZoneFolder(tmp_path, ZoneSettings())
        problems = zones.load(2)
        assert [problem.code for problem in problems] == ["reader-died"]
        assert len(zones.zones) == 255
