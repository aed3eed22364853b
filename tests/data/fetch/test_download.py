import errno
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest
import requests
from filelock import FileLock
from misbehaving_server import endless, serve, stalled, status, whole

from mola.data import disk
from mola.data.fetch import transfer, verify
from mola.data.fetch.download import DRIVE, Download, fetch, place, version
from mola.types import BadInput

DATA = np.random.default_rng(0).bytes(3_000_000)  # no pattern: a part put in the wrong place is seen
HALF = 3 * 2**19  # gdown writes pieces of 2**19 bytes
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sorry,\n too many downloads</title></head></html>"


def md5(content):
    return f"md5:{hashlib.md5(content).hexdigest()}"


@pytest.fixture
def server():
    with serve() as running:
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch, tmp_path):
    """The seconds that were waited for, which pass at once."""
    seconds_waited = []
    monkeypatch.setattr(transfer, "sleep", seconds_waited.append)
    monkeypatch.setattr(transfer, "gettempdir", lambda: str(tmp_path))
    return seconds_waited


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "downloads"


def download(server, *paths, **changes):
    mirrors = tuple(path if "://" in path else server.url + path for path in paths)
    given = {"file": "toy.bin", "mirrors": mirrors, "checksums": {"v1": md5(DATA)}, "size": len(DATA)}
    return Download("toy", "a page", "CC BY 4.0", "", **{**given, "terms": "Cite the paper.", **changes})


def files(folder):
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def refused(call, *args):
    """The one line that a call fails with."""
    with pytest.raises(BadInput) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_is_brought_once_and_remembered(server, folder, capsys):
    server.answers["/a"] = [whole(DATA)]
    toy = download(server, "/a")
    assert version(toy, folder) is None
    path = fetch(toy, folder)
    assert path.read_bytes() == DATA and files(folder) == {"toy.bin", "toy.bin.verified.json"}
    assert path.stat().st_mode & 0o444 == 0o444  # others may read it
    assert "toy: licence: CC BY 4.0; Cite the paper." in capsys.readouterr().err
    known = json.loads((folder / "toy.bin.verified.json").read_text())
    assert known["checksum"] == md5(DATA) and known["url"] == server.url + "/a" and known["size"] == len(DATA)
    assert known["licence"] == "CC BY 4.0" and known["terms"] == "Cite the paper."
    assert datetime.fromisoformat(known["shown"]).tzinfo == UTC
    assert version(toy, folder) == "v1"
    asked = len(server.requests)
    assert fetch(toy, folder) == path
    assert len(server.requests) == asked and capsys.readouterr().err == ""


def test_a_known_file_is_not_hashed_again_unless_asked(server, folder, monkeypatch):
    server.answers["/a"] = [whole(DATA)]
    toy = download(server, "/a")
    path = fetch(toy, folder)
    stat = path.stat()
    path.write_bytes(b"x" + DATA[1:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # damage that size and time do not tell
    assert fetch(toy, folder).read_bytes() != DATA
    assert fetch(toy, folder, check=True).read_bytes() == DATA
    assert len(server.requests) == 2


def test_a_changed_file_is_brought_again_and_a_touched_one_only_hashed(server, folder):
    server.answers["/a"] = [whole(DATA)]
    toy = download(server, "/a")
    path = fetch(toy, folder)
    os.utime(path, (1, 1))
    fetch(toy, folder)
    assert len(server.requests) == 1
    for other in (b"other", b"x" + DATA[1:]):  # of another size; of another time
        path.write_bytes(other)
        assert fetch(toy, folder).read_bytes() == DATA
    assert len(server.requests) == 3


def test_a_cut_transfer_goes_on_where_it_stopped(server, folder, waits):
    server.answers["/a"] = [whole(DATA, cut=HALF), whole(DATA)]
    assert fetch(download(server, "/a"), folder).read_bytes() == DATA
    assert f"bytes={HALF}-" in server.ranges("/a")
    assert len(waits) == 1
    assert files(folder) == {"toy.bin", "toy.bin.verified.json"}


def test_a_line_that_breaks_often_but_brings_something_is_not_given_up(server, folder, waits):
    number = 3 * transfer.ATTEMPTS
    body = DATA * number
    server.answers["/a"] = [whole(body, cut=len(DATA))]
    toy = download(server, "/a", checksums={"v1": md5(body)}, size=None)
    assert fetch(toy, folder).read_bytes() == body
    assert len(waits) == len(body) // (5 * 2**19) > 2 * transfer.ATTEMPTS  # of DATA, gdown keeps five pieces


def test_a_server_that_ignores_ranges_is_begun_anew(server, folder):
    server.answers["/a"] = [whole(DATA, cut=HALF), whole(DATA, ranges=False)]
    assert fetch(download(server, "/a"), folder).read_bytes() == DATA


def test_a_server_that_always_cuts_and_ignores_ranges_is_given_up(server, folder, waits):
    server.answers["/a"] = [whole(DATA, ranges=False, cut=HALF)]
    message = refused(fetch, download(server, "/a"), folder)
    assert "/a: " in message and "found" in message
    assert len(waits) < 3 * transfer.ATTEMPTS


def test_wrong_bytes_are_removed_and_the_next_mirror_asked(server, folder, capsys):
    wrong = DATA[:-1] + b"?"
    server.answers |= {"/a": [whole(wrong)], "/b": [whole(DATA)]}
    path = fetch(download(server, "/a", "/b"), folder)
    assert path.read_bytes() == DATA and files(folder) == {"toy.bin", "toy.bin.verified.json"}
    assert json.loads((folder / "toy.bin.verified.json").read_text())["url"].endswith("/b")
    shown = capsys.readouterr().err
    assert f"toy.bin: {server.url}/a: expected {md5(DATA)} (v1), found {md5(wrong)} (3.0 MB)" in shown


def test_bytes_of_two_mirrors_are_never_joined(server, folder):
    server.answers |= {"/a": [whole(bytes(len(DATA)), cut=HALF), status(404)], "/b": [whole(DATA)]}
    assert fetch(download(server, "/a", "/b"), folder).read_bytes() == DATA
    assert server.ranges("/b") == [None]
    assert files(folder) == {"toy.bin", "toy.bin.verified.json"}


def test_a_file_that_changed_between_two_calls_is_begun_anew(server, folder):
    server.answers["/a"] = [whole(bytes(len(DATA)), cut=HALF), status(404)]
    refused(fetch, download(server, "/a"), folder)
    server.answers["/a"] = [whole(DATA)]
    assert fetch(download(server, "/a"), folder).read_bytes() == DATA
    assert server.ranges("/a")[-2:] == [f"bytes={HALF}-", None]


def test_when_all_fail_each_reason_is_told_and_how_to_go_on(server, folder):
    server.answers |= {"/page": [status(200, PAGE, Content_Type="text/html")], "/wrong": [whole(b"12345")]}
    nobody = "http://127.0.0.1:1/x"
    message = refused(fetch, download(server, "/page", "/gone", "/wrong", nobody, "htp://no/x"), folder)
    assert message.startswith(f"{folder / 'toy.bin'}: expected toy from its mirrors, found ")
    assert f"{server.url}/page: expected {md5(DATA)} (v1), found an HTML page ('Sorry, too many downloads')" in message
    assert f"{server.url}/gone: status 404 Not Found" in message
    assert f"{server.url}/wrong: expected {md5(DATA)} (v1), found {md5(b'12345')} (0.0 MB)" in message
    assert f"{nobody}: " in message and "/x: Connection refused |" in message
    assert "htp://no/x: No connection adapters" in message
    assert message.endswith("mola fetch toy --from PATH")
    assert files(folder) == set()


def test_a_busy_server_is_waited_for_as_long_as_it_asks(server, folder, waits):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    server.answers["/a"] = [status(429, Retry_After="7"), status(503, Retry_After=date), status(429), whole(DATA)]
    assert fetch(download(server, "/a"), folder).read_bytes() == DATA
    assert waits[0] == 7 and 10 < waits[1] <= 100 and waits[2] == 4 * transfer.WAIT


def test_a_server_that_asks_for_too_long_is_left_for_the_next_mirror(server, folder, waits):
    server.answers |= {"/a": [status(429, Retry_After="86400")], "/b": [whole(DATA)]}
    assert fetch(download(server, "/a", "/b"), folder).read_bytes() == DATA
    assert waits == [] and len(server.ranges("/a")) == 1


@pytest.mark.parametrize(("seconds", "waited"), [("120", [120]), ("121", [])])
def test_two_minutes_are_the_longest_wait(server, folder, waits, seconds, waited):
    server.answers |= {"/a": [status(503, Retry_After=seconds), whole(DATA)], "/b": [whole(DATA)]}
    assert fetch(download(server, "/a", "/b"), folder).read_bytes() == DATA
    assert waits == waited and len(server.ranges("/b")) == (not waited)


@pytest.mark.parametrize("code", [403, 404, 408, 410, 425, 429, 500, 501, 502, 503, 504])
def test_only_statuses_that_pass_are_waited_for(server, folder, waits, code):
    server.answers |= {"/a": [status(code), whole(DATA)], "/b": [whole(DATA)]}
    assert fetch(download(server, "/a", "/b"), folder).read_bytes() == DATA
    assert waits == ([] if code in (403, 404, 410, 501) else [2])


def test_a_silent_server_is_given_up(server, folder, monkeypatch):
    limits = []
    monkeypatch.setattr("gdown.download", lambda url, output, **given: limits.append(given["timeout"]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fetch(download(server, "/a"), folder)
    assert limits == [(15, 60)]  # seconds to connect, and between bytes


def test_attempts_are_bounded(server, folder, waits):
    server.answers["/a"] = [status(503)]
    assert "/a: status 503" in refused(fetch, download(server, "/a"), folder)
    assert len(server.requests) == 5 and waits == [2, 4, 8, 16]


def test_a_killed_process_leaves_no_half_file_and_the_next_goes_on(server, folder, tmp_path):
    go_on = threading.Event()
    server.answers["/a"] = [stalled(DATA, HALF, go_on), whole(DATA)]
    code = (
        "from pathlib import Path; from mola.data.fetch.download import Download, fetch; "
        f"fetch(Download('toy', '', '', '', 'toy.bin', ({server.url + '/a'!r},), {{'v1': {md5(DATA)!r}}}), "
        f"Path({str(folder)!r}))"
    )
    here = Path(__file__).parents[3]
    process = subprocess.Popen([sys.executable, "-c", code], cwd=here, env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size for part in folder.glob("*.part")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        go_on.set()
    (part,) = folder.glob("*.part")
    kept = part.stat().st_size
    assert 0 < kept <= HALF and not (folder / "toy.bin").exists()
    assert fetch(download(server, "/a"), folder).read_bytes() == DATA
    assert server.ranges("/a")[-1] == f"bytes={kept}-"


def test_processes_of_one_host_take_turns(server, folder, tmp_path, capsys):
    server.answers["/a"] = [whole(DATA)]
    port = server.url.rpartition(":")[2]
    with FileLock(tmp_path / f"mola-{os.getuid()}-127.0.0.1_{port}.lock"):
        job = threading.Thread(target=fetch, args=(download(server, "/a"), folder))
        job.start()
        job.join(1.0)
        assert job.is_alive() and server.requests == []
    job.join(20)
    assert (folder / "toy.bin").read_bytes() == DATA
    assert "waiting for another transfer from 127.0.0.1" in capsys.readouterr().err


def test_threads_that_fetch_one_file_bring_it_once(server, folder):
    server.answers["/a"] = [whole(DATA)]
    jobs = [threading.Thread(target=fetch, args=(download(server, "/a"), folder)) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(server.requests) == 1 and (folder / "toy.bin").read_bytes() == DATA


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_small_disk_is_told_before_anything_large_is_written(server, folder, monkeypatch, size):
    """size None: known from the server's answer only."""
    server.answers["/a"] = [whole(DATA)]
    usage = shutil.disk_usage(folder.parent)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage._replace(free=disk.MARGIN + 1000))
    message = refused(fetch, download(server, "/a", size=size), folder)
    assert re.fullmatch(rf"{folder}: expected 36\.\d MB free for toy\.bin, found 33\.6 MB", message)
    assert len(server.requests) == 1 and not (folder / "toy.bin").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux that is always full")
def test_a_disk_that_is_full_all_the_same(server, folder):
    server.answers["/a"] = [whole(DATA)]
    toy = download(server, "/a")
    folder.mkdir()
    staged = hashlib.sha256(toy.mirrors[0].encode()).hexdigest()[:8]
    (folder / f"toy.bin.{staged}abcdefgh.part").symlink_to("/dev/full")
    assert refused(fetch, toy, folder) == f"{folder}: expected to write toy.bin, found a full disk"


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    assert "Not a directory" in refused(fetch, download(server, "/a"), tmp_path / "file" / "downloads")


def test_another_published_version_is_accepted_and_named(server, folder, capsys):
    server.answers["/a"] = [whole(DATA)]
    toy = download(server, "/a", checksums={"v2": md5(b"new"), "v1": f"sha256:{hashlib.sha256(DATA).hexdigest()}"})
    path = fetch(toy, folder)
    assert f"{path}: is version 'v1', not the pinned 'v2'" in " ".join(capsys.readouterr().err.split("\n"))
    assert version(toy, folder) == "v1"
    no_longer = download(server, "/a", checksums={"v2": md5(b"new")})
    assert version(no_longer, folder) is None


def zipped(**content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_without_a_checksum_an_archive_must_be_whole(server, folder):
    archive = zipped(a=DATA, b=b"1")
    damaged = archive[:1000] + b"?" + archive[1001:]
    server.answers |= {"/cut": [endless(archive[:HALF])], "/bad": [whole(damaged)], "/page": [whole(PAGE)]}
    server.answers |= {"/no": [whole(b"hello")], "/good": [endless(archive)]}
    message = refused(fetch, download(server, "/cut", "/bad", "/page", "/no", checksums={}, file="toy.zip"), folder)
    assert "/cut: expected a whole file, found a truncated or damaged archive" in message
    assert "/bad: expected a whole file, found a truncated or damaged archive" in message
    assert "/page: expected a whole file, found an HTML page" in message
    assert "/no: expected a whole file, found neither zip nor tar" in message
    assert files(folder) == set()
    toy = download(server, "/cut", "/good", checksums={}, file="toy.zip")
    path = fetch(toy, folder)
    assert path.read_bytes() == archive and version(toy, folder) == ""
    path.write_bytes(archive)
    fetch(toy, folder)  # looked at again, as its time has changed
    assert version(toy, folder) == ""


def test_without_a_checksum_damage_since_the_download_is_found_when_asked(server, folder):
    server.answers["/a"] = [whole(DATA)]
    toy = download(server, "/a", checksums={})
    path = fetch(toy, folder)
    stat = path.stat()
    path.write_bytes(b"x" + DATA[1:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fetch(toy, folder, check=True).read_bytes() == DATA


def test_data_by_request_is_never_downloaded(server, folder, tmp_path):
    server.answers["/a"] = [whole(DATA)]
    toy = download(server, "/a", request="ask at https://example.org/form")
    message = refused(fetch, toy, folder)
    assert (
        "toy, which is given on request only, found none; ask at https://example.org/form; a file that you" in message
    )
    mine = tmp_path / "mine.bin"
    mine.write_bytes(DATA)
    place(toy, mine, folder)
    assert fetch(toy, folder).read_bytes() == DATA
    assert server.requests == []


@pytest.mark.parametrize("link", [True, False])
def test_a_file_is_placed_by_hand(folder, tmp_path, monkeypatch, link):
    def no_link(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    if not link:
        monkeypatch.setattr(os, "link", no_link)
    mine, toy = tmp_path / "mine.bin", download(None, "http://127.0.0.1:1/")
    mine.write_bytes(DATA)
    path = place(toy, mine, folder)
    assert path.read_bytes() == mine.read_bytes() == DATA
    assert files(folder) == {"toy.bin", "toy.bin.verified.json"} and version(toy, folder) == "v1"
    assert json.loads((folder / "toy.bin.verified.json").read_text())["url"] == str(mine)
    assert place(toy, path, folder) == path  # where it lies already
    assert fetch(toy, folder).read_bytes() == DATA and files(folder) == {"toy.bin", "toy.bin.verified.json"}


def test_a_wrong_file_placed_by_hand_changes_nothing(folder, tmp_path):
    mine, toy = tmp_path / "mine.bin", download(None)
    mine.write_bytes(DATA)
    place(toy, mine, folder)
    wrong = tmp_path / "wrong.bin"
    wrong.write_bytes(PAGE)
    assert refused(place, toy, wrong, folder).startswith(f"{wrong}: expected {md5(DATA)} (v1), found an HTML page")
    assert wrong.read_bytes() == PAGE and (folder / "toy.bin").read_bytes() == DATA
    assert refused(place, toy, tmp_path / "none", folder).endswith("none: expected the file toy.bin, found nothing")
    assert refused(place, toy, tmp_path, folder).endswith(": expected the file toy.bin, found a folder")
    assert files(folder) == {"toy.bin", "toy.bin.verified.json"} and version(toy, folder) == "v1"


def test_a_wrong_file_put_there_without_asking_is_named_and_kept(folder):
    """There is no mirror to replace it from."""
    folder.mkdir()
    (folder / "toy.bin").write_bytes(b"mine")
    message = refused(fetch, download(None), folder)
    assert message.startswith(f"{folder / 'toy.bin'}: expected {md5(DATA)} (v1), found {md5(b'mine')}")
    assert (folder / "toy.bin").read_bytes() == b"mine"


@pytest.mark.parametrize("known", ["", "[]", '{"file": 1}', "\xff"])
def test_a_damaged_record_is_made_anew(server, folder, known):
    server.answers["/a"] = [whole(DATA)]
    toy = download(server, "/a")
    fetch(toy, folder)
    (folder / "toy.bin.verified.json").write_text(known, encoding="latin-1")
    fetch(toy, folder)
    assert len(server.requests) == 1 and version(toy, folder) == "v1"


@pytest.fixture
def drive(server, monkeypatch):
    """Google Drive, played by the server: the real host names are asked for, the loopback answers."""
    get = requests.Session.get

    def local(self, url, **given):
        return get(self, url.replace("https://drive.google.com", server.url), **given)

    monkeypatch.setattr(requests.Session, "get", local)
    return server


def test_drive_ids_go_through_the_page_that_asks_for_consent(drive, folder):
    page = (
        f'<html><form id="download-form" action="{drive.url}/content">'
        '<input type="hidden" name="id" value="abc"></form></html>'
    )
    attached = {"Content_Disposition": 'attachment; filename="x.zip"', "Content_Type": "application/zip"}
    drive.answers |= {"/uc": [status(200, page.encode(), Content_Type="text/html")]}
    drive.answers |= {"/content": [status(200, DATA, **attached)]}
    toy = download(drive, DRIVE + "abc")
    assert fetch(Download(**{**vars(toy), "mirrors": ("abc",)}), folder).read_bytes() == DATA
    assert [path for path, _ in drive.requests] == ["/uc", "/content"]


def test_the_quota_of_drive_is_told_in_one_line(drive, folder):
    page = b'<html><p class="uc-error-subcaption">Too many users have viewed this file.</p></html>'
    drive.answers |= {"/uc": [status(200, page, Content_Type="text/html")], "/b": [whole(DATA)]}
    message = refused(fetch, download(drive, DRIVE + "abc"), folder)
    assert f"{DRIVE}abc: Google Drive: Too many users have viewed this file." in message
    assert fetch(download(drive, DRIVE + "abc", "/b"), folder).read_bytes() == DATA


def test_a_checksum_may_be_in_capitals(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(DATA)
    assert verify.identify(path, {"v": md5(DATA).upper().replace("MD5", "md5")}, "x") == ("v", md5(DATA))


def test_a_declared_size_is_a_cap(server, folder, waits):
    """Of an endless body nothing is kept."""
    server.answers["/toy.bin"] = [endless(bytes(8 * 2**20))]
    assert "more than twice the 1.0 MB that it should have" in refused(
        fetch, download(server, "/toy.bin", size=10**6), folder
    )
    assert not files(folder)
