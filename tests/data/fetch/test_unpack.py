import errno
import io
import lzma
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mola.data import disk
from mola.data.fetch import archives, unpack
from mola.types import BadInput

NOISE = np.random.default_rng(0).bytes(300_000)
CONTENT = {"VLCS/SUN/0/a b.jpg": NOISE, "VLCS/SUN/1/ü.jpg": b"", "VLCS/x.npy": b"1" * 512, "VLCS/y.npy": b"1" * 1536}
FORMS = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz")


def entry(name, kind=tarfile.REGTYPE, link="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def tarred(path, entries, form=""):
    """entries: (TarInfo, content) in order."""
    with tarfile.open(path, f"w:{form}") as archive:
        for info, content in entries:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def archive_of(folder, form, content=CONTENT):
    path = folder / f"toy.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir("VLCS/")
            for name, data in content.items():
                archive.writestr(name, data)
        return path
    entries = [(entry("./VLCS", tarfile.DIRTYPE), b""), *((entry(f"./{name}"), data) for name, data in content.items())]
    return tarred(path, entries, form.partition(".")[2])


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != unpack.MARK
    }


def left(tmp_path):
    return {path.name for path in tmp_path.iterdir() if not path.name.startswith("toy.") and path.suffix != ".lock"}


def refused(archive, folder):
    """The one line; nothing stands under the final name, or beside it."""
    with pytest.raises(BadInput) as error:
        unpack.unpack(archive, folder)
    assert "\n" not in str(error.value)
    assert not folder.exists() and not list(folder.parent.glob("*.tmp"))
    return str(error.value)


@pytest.mark.parametrize("form", FORMS)
def test_all_of_an_archive_is_unpacked_once(tmp_path, form, monkeypatch):
    archive, folder = archive_of(tmp_path, form), tmp_path / "deep" / "out"
    assert unpack.unpack(archive, folder) == folder
    assert contents(folder) == CONTENT and (folder / "VLCS/SUN").is_dir()
    assert {path.name for path in folder.parent.iterdir()} <= {"out", "out.lock"}
    monkeypatch.setattr(unpack, "members", None)  # a second time, nothing is read
    unpack.unpack(archive, folder)
    archive.unlink()  # to save its room
    unpack.unpack(archive, folder)


def test_a_changed_archive_replaces_the_folder(tmp_path):
    folder = tmp_path / "out"
    unpack.unpack(archive_of(tmp_path, "zip"), folder)
    changed = archive_of(tmp_path, "zip", {"only": b"1"})
    unpack.unpack(changed, folder)
    assert contents(folder) == {"only": b"1"} and left(tmp_path) == {"out"}
    changed.write_bytes(changed.read_bytes()[:-5])
    with pytest.raises(BadInput, match="truncated"):
        unpack.unpack(changed, folder)
    assert contents(folder) == {"only": b"1"} and left(tmp_path) == {"out"}  # the good one stays


def test_a_folder_of_the_user_is_never_touched(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    with pytest.raises(BadInput, match=r"out: expected no folder, or one unpacked from toy\.zip, found another"):
        unpack.unpack(archive_of(tmp_path, "zip"), folder)
    assert contents(folder) == {"mine": b"mine"}


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_cut_anywhere_is_refused(tmp_path, form):
    """Also between two entries of a tar, which tarfile takes for its end."""
    archive = archive_of(tmp_path, form)
    whole = archive.read_bytes()
    ends = (
        range(0, len(whole), 512) if form == "tar" else [0, 1, 5, 100, len(whole) // 2, len(whole) - 9, len(whole) - 1]
    )
    marked = len(whole.rstrip(b"\0")) + 1024 if form == "tar" else len(whole)  # a tar's end mark, then padding
    for end in [end for end in ends if end < marked - 1024 or form != "tar"][-60:]:
        archive.write_bytes(whole[:end])
        message = refused(archive, tmp_path / "out")
        assert message.startswith(f"{archive}: expected a whole archive, found ")
        with pytest.raises(archives.Damaged):
            archives.check(archive, "toy")


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_archive_never_ends_in_a_traceback(tmp_path, form):
    """Where damage is not refused, the content is right (or a tar without a checksum of its content)."""
    archive, folder = archive_of(tmp_path, form, {"a": NOISE[:2000], "b/c": b"1" * 700}), tmp_path / "out"
    whole, dice = archive.read_bytes(), random.Random(0)
    refusals = []
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(dice.choice((1, 1, 3))):
            damaged[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        archive.write_bytes(damaged)
        try:
            unpack.unpack(archive, folder)
        except BadInput as error:
            refusals.append("\n" not in str(error) and not folder.exists())
        else:
            if form != "tar":
                assert NOISE[:2000] in contents(folder).values()
            shutil.rmtree(folder)
    assert len(refusals) > 10 and all(refusals)


def test_what_is_no_archive_is_named(tmp_path):
    archive, out = tmp_path / "toy.zip", tmp_path / "out"
    archive.write_bytes(b"<html><title>Quota exceeded</title></html>")
    assert "found an HTML page ('Quota exceeded')" in refused(archive, out)
    archive.write_bytes(b"hello")
    assert refused(archive, out).endswith("found neither zip nor tar (it starts with b'hello')")
    assert refused(tmp_path / "none.zip", out).endswith("none.zip: expected an archive, found nothing")
    assert refused(tmp_path, out).endswith(": expected an archive, found a folder")


OUTSIDE = ["../evil", "a/../../evil", "/tmp/evil", "..", "a/..", "..\\evil", "C:\\evil", "\\evil"]


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_is_written_outside(tmp_path, form, name):
    inner = tmp_path / "inner"
    inner.mkdir()
    archive = inner / f"toy.{form}"
    if form == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(zipfile.ZipInfo("good"), b"1")
            file.writestr(zipfile.ZipInfo(name), b"evil")
    else:
        tarred(archive, [(entry("good"), b"1"), (entry(name), b"evil")], "gz")
    message = refused(archive, inner / "deep" / "out")
    assert f"expected entries inside the folder, found {name!r}" in message
    assert not list(tmp_path.rglob("*evil*"))


def test_the_root_itself_may_be_an_entry(tmp_path):
    """Dropbox packs a folder so."""
    path = tmp_path / "toy.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("/", b"")
        archive.writestr("train/0.npy", b"1")
    assert contents(unpack.unpack(path, tmp_path / "out")) == {"train/0.npy": b"1"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["../../secret", "/etc/passwd", "..", "none", ".", "deep"])
def test_links_out_of_the_folder_or_to_folders_are_refused(tmp_path, kind, target):
    (tmp_path / "secret").write_text("secret")
    entries = [(entry("deep/x"), b"1"), (entry("deep/link", kind, target), b""), (entry("deep/link/y"), b"2")]
    assert "toy.tar: expected " in refused(tarred(tmp_path / "toy.tar", entries[:2]), tmp_path / "out")
    refused(tarred(tmp_path / "toy.tar", entries), tmp_path / "out")
    assert (tmp_path / "secret").read_text() == "secret"


def test_nothing_is_written_through_a_link(tmp_path):
    """A link, then a file of its name: the file must not land in the link's target."""
    entries = [(entry("a"), b"good"), (entry("b", tarfile.SYMTYPE, "a"), b""), (entry("b"), b"other")]
    unpack.unpack(tarred(tmp_path / "toy.tar", entries), tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == b"good"
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


def test_links_inside_become_files(tmp_path):
    entries = [
        (entry("full/1.jpg", tarfile.SYMTYPE, "../train/1.jpg"), b""),  # before its target
        (entry("train/1.jpg"), NOISE),
        (entry("test/1.jpg", tarfile.LNKTYPE, "./train/1.jpg"), b""),
    ]
    unpack.unpack(tarred(tmp_path / "toy.tar.gz", entries, "gz"), tmp_path / "out")
    assert contents(tmp_path / "out") == {f"{split}/1.jpg": NOISE for split in ("full", "train", "test")}
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(tmp_path, kind):
    entries = [(entry("device", kind), b"")]
    assert "found 'device', which is none" in refused(tarred(tmp_path / "toy.tar", entries), tmp_path / "out")


def test_links_of_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "toy.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "found 'link', which is none" in refused(tmp_path / "toy.zip", tmp_path / "out")


def test_modes_are_not_kept(tmp_path):
    unpack.unpack(tarred(tmp_path / "toy.tar", [(entry("x", mode=0o6777), b"1")]), tmp_path / "out")
    assert (tmp_path / "out" / "x").stat().st_mode & 0o7133 == 0


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.xz"])
def test_absurd_expansion_is_stopped(tmp_path, form, monkeypatch):
    monkeypatch.setattr(unpack, "ALLOWANCE", 2**20)
    archive = archive_of(tmp_path, form, {"a": bytes(30_000_000), "b": b""})
    written = []
    copy = unpack._copy
    monkeypatch.setattr(unpack, "_copy", lambda *given: written.append(copy(*given)) or written[-1])
    assert "of content, found more" in refused(archive, tmp_path / "out")
    assert sum(written) < 10_000_000


def test_so_is_a_million_of_empty_files(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "ALLOWANCE", 2**10)
    archive = tarred(tmp_path / "toy.tar.xz", [(entry("x" * 50), b"")] * 4000, "xz")
    assert "found more" in refused(archive, tmp_path / "out")


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path):
    """A long name is read at once; a bomb may announce one of gigabytes."""
    info = entry("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    info.size = 2**32
    with lzma.open(tmp_path / "toy.tar.xz", "w") as file:
        file.write(info.tobuf() + bytes(2**20))
    assert "a header of" in refused(tmp_path / "toy.tar.xz", tmp_path / "out")


def test_thousands_of_folders_are_refused(tmp_path):
    for form, deep in (("zip", "a/" * 2000 + "b"), ("tar", "a/" * 101 + "b")):
        message = refused(archive_of(tmp_path, form, {deep: b"1"}), tmp_path / "out")
        assert "a/a/a/" in message and "expected entries at most 100 folders deep" in message and len(message) < 300
    unpack.unpack(archive_of(tmp_path, "tar.gz", {"a/" * 90 + "b": b"1"}), tmp_path / "out")


def test_a_password_is_told(tmp_path):
    archive = archive_of(tmp_path, "zip", {"a": b"1"})
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for at in [i for i in range(len(content)) if content.startswith(mark, i)]:
            content[at + offset] |= 1  # "encrypted"
    archive.write_bytes(content)
    assert "can't be read" in refused(archive, tmp_path / "out")


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    archive = archive_of(tmp_path, "zip")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpack, "_copy", full)
    assert (
        refused(archive, tmp_path / "out") == f"{tmp_path}: expected to write the content of toy.zip, found a full disk"
    )


def test_room_for_a_zip_is_asked_for_first(tmp_path, monkeypatch):
    archive = archive_of(tmp_path, "zip")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage._replace(free=disk.MARGIN + 1000))
    assert "free for the content of toy.zip, found 33.6 MB" in refused(archive, tmp_path / "out")


def test_a_name_that_is_both_file_and_folder(tmp_path):
    entries = [(entry("a"), b"1"), (entry("a/b"), b"2")]
    assert "toy.tar" in refused(tarred(tmp_path / "toy.tar", entries), tmp_path / "out")


def test_a_killed_process_leaves_nothing_under_the_final_name(tmp_path):
    archive, out = (
        archive_of(tmp_path, "tar.xz", {str(n): NOISE[:1000] + b"%d" % n for n in range(3000)}),
        tmp_path / "out",
    )
    code = (
        "import os, signal, sys; from pathlib import Path; from mola.data.fetch import unpack\n"
        "copy, files = unpack._copy, []\n"
        "def killed(*given):\n"
        "    files.append(given)\n"
        "    if len(files) == 1000: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return copy(*given)\n"
        "unpack._copy = killed\n"
        "unpack.unpack(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(archive), str(out)], cwd=Path(__file__).parents[3], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    unfinished = tmp_path / "out.new.tmp"
    assert not out.exists() and unfinished.is_dir()
    unpack.unpack(archive, out)
    assert len(contents(out)) == 3000 and left(tmp_path) == {"out"}
