"""What MkDocs does not do by itself for the site of docs/: pages made of files elsewhere in the repository, notebooks
as pages, and links out of docs/. On GitHub these links work as they are.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# pages of the site that lie at the root of the repository
PROJECT = {name: f"project/{name}" for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")}
# a link or an image, but in code
LINK = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]+`)|(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^)\s]+)\)", re.M | re.S
)
IMAGES = (".png", ".svg", ".jpg", ".webp")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the project, and a page for each notebook."""
    for name, place in PROJECT.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text()))
    for notebook in sorted((ROOT / "docs").rglob("*.ipynb")):
        place = notebook.relative_to(ROOT / "docs").with_suffix(".md").as_posix()
        files.append(File.generated(config, place, content=page_of(notebook)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links of a page to where the site has what they mean."""
    place = page.file.src_uri

    def replaced(match: re.Match[str]) -> str:
        address, _, anchor = (match["target"] or "").partition("#")
        if match["code"] or not address or ":" in address:
            return match[0]
        path = normpath(str(PurePosixPath(origin(place)).parent / address))
        if path.endswith(IMAGES) and not path.startswith("docs/") and files.get_file_from_path(path) is None:
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
        target = path if path.endswith(IMAGES) else page_for(path)
        if files.get_file_from_path(target) is not None:
            link = relpath(target, PurePosixPath(place).parent) + (f"#{anchor}" if anchor else "")
            return f"{match['image']}[{match['text']}]({link})"
        return outside(match["text"], path) if (ROOT / path).exists() else match[0]

    return LINK.sub(replaced, markdown)


def origin(place: str) -> str:
    """The file of the repository that a page of the site shows."""
    names = {site: name for name, site in PROJECT.items()}
    return names.get(place, f"docs/{place}")


def page_for(path: str) -> str:
    """Where the site has a file of the repository, if it does."""
    return PROJECT.get(path, path.removeprefix("docs/").replace(".ipynb", ".md"))


def outside(text: str, path: str) -> str:
    """A link to a file in the repository that is no page; its name alone where the project states no address."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    if address := urls.get("Repository") or urls.get("Source"):
        return f"[{text}]({address.rstrip('/')}/blob/main/{path})"
    return f"`{path}`" if path.endswith(text.strip("`")) else f"{text} (`{path}`)"


def page_of(notebook: Path) -> str:
    """A notebook as Markdown: its text, and its code in fences."""
    parts = [(part["cell_type"], "".join(part["source"])) for part in json.loads(notebook.read_text())["cells"]]
    return "\n\n".join(f"```python\n{source}\n```" if kind == "code" else source for kind, source in parts)
