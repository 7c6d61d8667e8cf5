"""Files of bodies, and those that are kept to be written over."""

import os
import time
from pathlib import Path

import pytest

from mx10.relay.spool import files
from mx10.relay.spool.files import MAX_SPARES, SPARE_OCTETS, SPARES, BodyFiles, remove_strays
from mx10.relay.values import name_of
from mx10.store.connect import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("bodies", SPARES):
        (tmp_path / name).mkdir()
    return tmp_path / "bodies"


def write(bodies: BodyFiles, message: int, body: bytes) -> Path:
    descriptor = bodies.begin(message)
    os.write(descriptor, body)
    bodies.sync(descriptor, len(body))
    os.close(descriptor)
    return bodies.path(message)


def spares(folder: Path) -> list[Path]:
    return list((folder.parent / SPARES).iterdir())


@pytest.mark.parametrize("body", [b"short", b"a longer one than before"])
def test_the_next_body_is_written_over_one_that_is_done_with(folder: Path, body: bytes) -> None:
    first = write(BodyFiles(folder), 1, b"before that")
    inode = first.stat().st_ino
    BodyFiles(folder).remove([1])
    assert not list(folder.iterdir())
    second = write(BodyFiles(folder), 2, body)
    assert (second.name, second.read_bytes()) == (name_of(2), body)
    assert second.stat().st_ino == inode
    assert not spares(folder)


def test_so_many_are_kept_and_none_that_is_large(folder: Path) -> None:
    bodies = BodyFiles(folder)
    for message in range(MAX_SPARES + 20):
        write(bodies, message, b"x")
    write(bodies, 1000, bytes(SPARE_OCTETS + 1))
    bodies.remove([1000, 2000])
    assert not spares(folder)
    bodies.remove(range(MAX_SPARES + 20))
    assert len(spares(folder)) == MAX_SPARES
    assert not list(folder.iterdir())


def test_none_is_kept_for_long(folder: Path) -> None:
    bodies = BodyFiles(folder)
    write(bodies, 1, b"x")
    bodies.remove([1])
    assert bodies.tidy()
    assert len(spares(folder)) == 1
    assert not bodies.tidy(0)
    assert not spares(folder)


def test_none_is_kept_after_the_end(folder: Path) -> None:
    bodies = BodyFiles(folder)
    for message in (1, 2):
        write(bodies, message, b"x")
    bodies.remove([1])
    bodies.close()
    bodies.remove([2])
    assert not spares(folder)
    assert not list(folder.iterdir())


def test_two_doors_never_write_to_one_file(folder: Path) -> None:
    one, other = BodyFiles(folder), BodyFiles(folder)
    for message in range(6):
        write(one, message, b"x")
    one.remove(range(6))
    written = [write((one, other)[message % 2], message, b"%d" % message) for message in range(10, 22)]
    assert [each.read_bytes() for each in written] == [b"%d" % message for message in range(10, 22)]
    assert len({each.stat().st_ino for each in written}) == 12


def test_a_body_that_is_there_is_never_written_over(folder: Path) -> None:
    """Where the clock was set back, a number may be given twice."""
    bodies = BodyFiles(folder)
    path = write(bodies, 1, b"promised")
    write(bodies, 2, b"x")
    bodies.remove([2])
    with pytest.raises(FileExistsError):
        bodies.begin(1)
    assert path.read_bytes() == b"promised"
    assert len(spares(folder)) == 1


def test_one_that_is_begun_is_no_stray_though_it_is_old(folder: Path, store: Store) -> None:
    bodies = BodyFiles(folder)
    os.utime(write(bodies, 1, b"x"), (1, 1))
    bodies.remove([1])
    os.close(bodies.begin(2))
    assert remove_strays(store, folder, time.time() - 60) == 0
    assert bodies.path(2).exists()


def test_without_their_folder_all_goes_as_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LOOK_SECONDS", 0.0)
    (folder.parent / SPARES).rmdir()
    bodies = BodyFiles(folder)
    for message in (1, 2):
        assert write(bodies, message, b"x").read_bytes() == b"x"
        bodies.remove([message])
    assert not list(folder.iterdir())
