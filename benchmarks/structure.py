"""The structure of src/: rooms with their files and lines, and the map of docs/architecture.md.

The map is made of the first lines of docstrings.

python benchmarks/structure.py                                   a table of rooms: files, lines, the longest file
python benchmarks/structure.py --write docs/architecture.md      the map, between its two marks
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "mnist_scaling"
BEGIN, END = "<!-- the map, by benchmarks/structure.py -->", "<!-- end of the map -->"


def rooms() -> dict[str, list[Path]]:
    """Every folder of the package, in the order of the alphabet, with its own modules."""
    folders = [PACKAGE, *sorted(path for path in PACKAGE.rglob("*") if path.is_dir())]
    found = {folder: sorted(folder.glob("*.py")) for folder in folders}
    return {folder.relative_to(PACKAGE.parent).as_posix(): paths for folder, paths in found.items() if paths}


def first_line(path: Path) -> str:
    """The first line of a module's docstring, without its full stop."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0].rstrip(".")


def lines(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def the_map() -> str:
    """Markdown: every room, and what each of its modules is."""
    text = [BEGIN]
    for room, paths in rooms().items():
        about = next((first_line(path) for path in paths if path.stem == "__init__"), "")
        text += ["", f"**`{room}/`**: {about}", ""]
        text += [f"- `{path.stem}`: {first_line(path)}" for path in paths if path.stem != "__init__"]
    return "\n".join([*text, "", END])


def table() -> str:
    """Markdown: files and lines of every room, and of the whole."""
    text = ["| room | files | lines | longest |", "|---|---:|---:|---|"]
    for room, paths in rooms().items():
        longest = max(paths, key=lines)
        text.append(f"| {room} | {len(paths)} | {sum(map(lines, paths)):,} | {longest.name} {lines(longest)} |")
    every = [path for paths in rooms().values() for path in paths]
    return "\n".join([*text, f"| all | {len(every)} | {sum(map(lines, every)):,} | |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="page to write the map into")
    parser.add_argument("--map", action="store_true", help="print the map")
    given = parser.parse_args()
    page = given.write
    if page is None:
        print(the_map() if given.map else table())
        return
    text = page.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) + len(END) :]
    page.write_text(before + the_map() + after, encoding="utf-8")


if __name__ == "__main__":
    main()
