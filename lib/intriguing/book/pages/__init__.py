"""Rendered pages: what is added to an executed chapter, and the site that is made of all."""

from intriguing.book.pages.annotations import Status, annotated, carried, status

__all__ = ["Status", "annotated", "carried", "status"]
