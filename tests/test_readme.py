"""What the README tells a reader to type works, and says what it prints."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
EXAMPLES = [
    (code, BLOCKS[i + 1][1] if i + 1 < len(BLOCKS) and BLOCKS[i + 1][0] == "text" else None)
    for i, (kind, code) in enumerate(BLOCKS)
    if kind == "python"
]
COMMANDS = [line for kind, code in BLOCKS if kind == "bash" for line in code.splitlines() if line.strip()]


def test_there_are_three_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(("code", "printed"), EXAMPLES, ids=[f"example {i}" for i in range(1, len(EXAMPLES) + 1)])
def test_an_example_prints_what_it_says(code: str, printed: str | None) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert said.getvalue() == printed


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_what_exists(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert words[0] in targets
    elif program in ("papermill", "snakemake"):
        assert importlib.util.find_spec(program) is not None
    elif program == "source":  # made by make, not in the repository
        assert words == [".venv/bin/activate"]
        return
    elif program == "python" and words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None
    else:
        assert program in ("sh", "pip")
    paths = [word for word in words if "/" in word and "=" not in word]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_links_and_pictures_are_there() -> None:
    found = re.findall(r"\]\(([^)]+)\)|<img[^>]*src=\"([^\"]+)\"", TEXT)
    targets = [target for pair in found for target in pair if target]
    assert [target for target in targets if not (ROOT / target.split("#")[0]).exists()] == []
