"""What a chapter's record says about batches that memory had no room for."""

import warnings
from typing import Any


class Halvings:
    """A listener to `batches.BatchHalved` warnings, which it counts and passes on.

    It stands before `warnings.showwarning`, the place that Python gives to those who want to hear
    warnings, from `listen` to `stop`.

    Attributes
    ----------
    rows : a dict for each kind of halving with "what", "before", "after" and "times", in the order
        in which they came; it grows while we listen.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._former: Any = None

    def listen(self) -> None:
        """Begin to listen; filters that hide warnings hide these no longer."""
        from intriguing.batches import BatchHalved  # needs torch, which readers of records do not

        self._kind, self._former = BatchHalved, warnings.showwarning
        warnings.showwarning = self._hear
        warnings.simplefilter("always", BatchHalved)

    def stop(self) -> None:
        """Cease to listen."""
        if warnings.showwarning == self._hear:
            warnings.showwarning = self._former

    def _hear(self, message: Any, category: type, *rest: Any, **more: Any) -> None:
        if isinstance(message, self._kind):
            self._count(message.what, message.before, message.after)
        self._former(message, category, *rest, **more)

    def _count(self, what: str, before: int, after: int) -> None:
        kind = {"what": what, "before": before, "after": after}
        for row in self.rows:
            if kind.items() <= row.items():
                row["times"] += 1
                return
        self.rows.append({**kind, "times": 1})
