"""What the book costs at a profile: GPU-hours, CPU-hours and disk, on one device and on many."""

from intriguing.book.cost.estimate import Plan, Recorded, Row, plan
from intriguing.book.cost.tables import fill, report

__all__ = ["Plan", "Recorded", "Row", "fill", "plan", "report", "tell"]


def tell(profile: str) -> str:
    """Return what a dry run says of the cost of a profile.

    Raises
    ------
    UserError : unknown profile, or a rule or a chapter that cannot be read.
    """
    return report(plan(profile))
