"""Training methods, one file each: `method` says what a file holds, and finds it by its name."""
