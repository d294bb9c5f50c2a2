"""Tables, claim verdicts and provenance of a notebook's run; the key that decides what runs again; the archive.

A run is a folder, `_build/results/<slug>/<scale>/<run>/`. A notebook begins with `start`, ends with `Run.finish`, and
in between keeps tables, values, figures and verdicts. From a shell: `python -m tenpapers.ledger --help`.
"""

from tenpapers.ledger._claims import KINDS, Chapter, Claim, chapters, load_claims
from tenpapers.ledger._files import LedgerError, book_root, find_root, read_json, read_yaml, results_root
from tenpapers.ledger._key import Key, changed, key, parameters
from tenpapers.ledger._results import FinishedRun, Verdict, adopt, archive, finished, report, runs, verdicts
from tenpapers.ledger._run import Run, number, run_name, start

__all__ = [
    "KINDS",
    "Chapter",
    "Claim",
    "FinishedRun",
    "Key",
    "LedgerError",
    "Run",
    "Verdict",
    "adopt",
    "archive",
    "book_root",
    "changed",
    "chapters",
    "find_root",
    "finished",
    "key",
    "load_claims",
    "number",
    "parameters",
    "read_json",
    "read_yaml",
    "report",
    "results_root",
    "run_name",
    "runs",
    "start",
    "verdicts",
]
