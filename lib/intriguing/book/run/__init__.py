"""Execute a chapter with papermill, and put its page and results in place together."""
