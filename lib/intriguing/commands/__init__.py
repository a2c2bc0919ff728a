"""What the `intriguing` command does, one function a subcommand; `cli` has the parser."""
