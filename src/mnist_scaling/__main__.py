"""``python -m mnist_scaling``: the commands, a line each."""

from __future__ import annotations

import ast
from pathlib import Path


def commands() -> dict[str, str]:
    """Module of each command to what its docstring says of it; nothing is imported, so the list is there at once."""
    says = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "\n    cli.run(main" in text:
            says[path.stem] = str(ast.get_docstring(ast.parse(text))).replace("`", "").partition(": ")[2]
    return says


def main() -> None:
    """Print the list."""
    print("Commands, each with --help for its keys:\n")
    for name, text in commands().items():
        print(f"  python -m mnist_scaling.{name:<9}{' '.join(text.split())}")


if __name__ == "__main__":
    main()
