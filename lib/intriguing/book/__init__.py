"""The executable book: chapters, the papermill driver, gates, claims and the rendered pages."""
