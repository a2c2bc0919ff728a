"""What the `intriguing` command does, one function a subcommand; `parser` says which there are."""
