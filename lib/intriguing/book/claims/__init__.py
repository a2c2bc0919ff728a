"""The papers' claims, and the verdicts that our records give them."""

from intriguing.book.claims.files import Claim, files, load, read
from intriguing.book.claims.scorecard import FINDINGS, Row, rows, scorecard_markdown, verdict

__all__ = [
    "FINDINGS", "Claim", "Row", "files", "load", "read", "rows", "scorecard_markdown", "verdict",
]  # fmt: skip
