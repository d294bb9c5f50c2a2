"""`python -m tenpapers.ledger`: report verdicts, archive a full run, adopt a run made elsewhere."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tenpapers.ledger._files import LedgerError, book_root
from tenpapers.ledger._results import adopt, archive, report
from tenpapers.presets import SCALES


def main(words: list[str] | None = None) -> int:
    """Run one command; gives the exit status (0 good, 1 a claim that must hold does not, 2 refused)."""
    parser = argparse.ArgumentParser(prog="python -m tenpapers.ledger", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    reporting = commands.add_parser("report", help="how many claims hold at a scale")
    reporting.add_argument("--scale", default="quick", choices=SCALES)
    archiving = commands.add_parser("archive", help="copy a finished full run's tables to data/results/<slug>/")
    archiving.add_argument("run", type=Path, help="the run's folder, _build/results/<slug>/full/<run>")
    archiving.add_argument("--name", help="the name in the archive (default: the folder's)")
    archiving.add_argument("--replace", action="store_true", help="put it in the place of an archived run of that name")
    adopting = commands.add_parser("adopt", help="take in a finished run made on another machine, under the same key")
    adopting.add_argument("run", type=Path, help="the run's folder, copied from that machine")
    given = parser.parse_args(words)
    try:
        if given.command == "report":
            text, good = report(book_root(), given.scale)
            print(text)
            return 0 if good else 1
        if given.command == "archive":
            print(archive(given.run, book_root(), given.name, given.replace))
        else:
            print(adopt(given.run, book_root()))
    except LedgerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
