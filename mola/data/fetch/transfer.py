"""Downloads one file from one address: gdown's transfer, which resumes where it stopped, with waits between attempts.

gdown reads plain http(s) and Google Drive. It gives up at the first HTTP error and at a range that a server does not
honour, so attempts are counted here; one transfer at a time per host, as Zenodo and others limit the rate.
"""

from __future__ import annotations

import email.utils
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir
from time import sleep
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from mola.data import disk
from mola.terminal import progress, say
from mola.types import BadInput

ATTEMPTS = 5  # in a row that transfer less than PROGRESS bytes
PROGRESS = 2**20  # bytes
WAIT = 2.0  # seconds after the first failure; doubles with each one
LONGEST_WAIT = 120.0  # seconds; an address that asks for more is given up
TIMEOUT = (15.0, 60.0)  # seconds to connect, and between bytes
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses after which another attempt may help


class Unavailable(Exception):
    """An address does not give the file; the message is the reason, in a few words."""


class _TooLarge(Exception):
    """A file has many more bytes than it should."""


@dataclass(frozen=True)
class _Failure:
    reason: str
    temporary: bool  # may another attempt help?
    wait: float = 0.0  # seconds that the server asks for


def transfer(url: str, staged: Path, title: str, size: int | None) -> bool:
    """Download ``url`` to ``staged``, resuming what an earlier call, or a killed process, left of it.

    title: what a progress bar calls it. size: bytes, about: of a file of more than twice as many nothing is kept.
    Returns whether something was resumed. Raises Unavailable, with what else was received kept, and BadInput where the
    disk is full.
    """
    with _one_transfer_per_host(url):
        resumed = received(staged) > 0
        failures, stuck, reached = 0, 0, received(staged)
        while failure := _attempt(url, staged, title, size):
            size_now = received(staged)
            stuck = stuck + 1 if failure.temporary and size_now and size_now == reached else 0
            failures = 0 if size_now >= reached + PROGRESS else failures + 1
            reached = max(size_now, reached)
            if not failure.temporary or failures == ATTEMPTS:
                raise Unavailable(failure.reason)
            wait = max(WAIT * 2 ** max(failures - 1, 0), failure.wait)
            if wait > LONGEST_WAIT:
                raise Unavailable(f"{failure.reason}; asks to come back after {wait:.0f} s")
            say(f"{title}: {failure.reason}; again in {wait:.0f} s")
            sleep(wait)
            # most likely a server that can't begin in the middle of a file
            if stuck == 2:
                discard(staged)
        return resumed


def discard(staged: Path) -> None:
    """Remove what was received for ``staged``, whole or in part."""
    for path in (*_parts(staged), staged):
        path.unlink(missing_ok=True)


def _parts(staged: Path) -> list[Path]:
    # gdown's names: eight characters of its own, then .part
    return [path for path in staged.parent.glob("*.part") if path.name[:-13] == staged.name]


def received(staged: Path) -> int:
    """Return the bytes that an unfinished transfer to ``staged`` has left."""
    return max((part.stat().st_size for part in _parts(staged)), default=0)


def _attempt(url: str, staged: Path, title: str, size: int | None) -> _Failure | None:
    """Try once. Returns None where the file is there."""
    import gdown
    import requests

    size_checked = False
    with progress(title, size, "bytes") as advance:

        def on_chunk(done: int, total: int | None) -> None:
            nonlocal size_checked
            if size is not None and max(done, total or 0) > 2 * size + PROGRESS:
                raise _TooLarge
            if not size_checked:
                size_checked = True
                disk.require(staged.parent, (total or size or 0) - done, title)
            advance(done, total)

        try:
            gdown.download(
                url, str(staged), quiet=True, use_cookies=False, resume=True, timeout=TIMEOUT, progress=on_chunk
            )
        except BadInput:
            raise
        except _TooLarge:
            discard(staged)
            return _Failure(f"more than twice the {disk.megabytes(size or 0)} that it should have", temporary=False)
        except gdown.FileURLRetrievalError as error:
            return _Failure(f"Google Drive: {_first_sentences(error)}", temporary=False)
        except requests.HTTPError as error:
            return _refusal(error.response)
        except (gdown.DownloadError, requests.RequestException, ValueError) as error:
            # a ValueError: an address that is none
            final = (requests.exceptions.SSLError, requests.exceptions.ProxyError, ValueError)
            return _Failure(_first_sentences(error), temporary=not isinstance(error, final))
        # gdown met a page that it can't read
        except (AssertionError, LookupError, TypeError, AttributeError) as error:
            return _Failure(f"an answer that can't be read ({type(error).__name__}: {error})", temporary=False)
        except OSError as error:
            with disk.errors_as_bad_input(staged.parent, title):
                raise error
    return None


def _refusal(response: object) -> _Failure:
    status, reason = getattr(response, "status_code", 0), getattr(response, "reason", "")
    retry_after = getattr(response, "headers", {}).get("Retry-After", "")
    return _Failure(f"status {status} {reason}".strip(), temporary=status in TEMPORARY, wait=_seconds(retry_after))


def _seconds(retry_after: str) -> float:
    """Return the seconds of a Retry-After header, which is a number or a date; 0 for anything else."""
    if re.fullmatch(r"\d{1,9}", retry_after.strip()):
        return float(retry_after)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _first_sentences(error: Exception) -> str:
    """Return an exception's message in one line; gdown's and urllib3's run over many, with paths and advice."""
    message = " ".join(str(error).partition("\nThe received bytes")[0].split())
    if cause := re.search(r"\[Errno -?\d+\] ([^'\")]+)", message):
        return cause[1]
    message = re.sub(r"^Failed to retrieve file url: | You may still be able to access.*", "", message)
    return message[:200] or type(error).__name__


@contextmanager
def _one_transfer_per_host(url: str) -> Iterator[None]:
    host = urlsplit(url).netloc.rpartition("@")[2]
    # a user's processes on this machine, whatever folder they download to
    user = os.getuid() if hasattr(os, "getuid") else ""
    lock = FileLock(Path(gettempdir()) / f"mola-{user}-{re.sub(r'[^a-zA-Z0-9.-]', '_', host)}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another transfer from {host}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
