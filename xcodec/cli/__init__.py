"""The command `xcodec`: `main.py` has its subcommands, but those of `generate` and `evaluate`."""
