"""The executable book: run chapters, build and check the whole, judge claims, render pages."""
