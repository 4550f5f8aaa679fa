"""``python -m xcodec.train CONFIG [--resume] [key=value…]``."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run a training; user errors end in one line and exit code 1."""
    import logging

    from .config import load_config

    resume = "--resume" in arguments
    positional = [each for each in arguments if each != "--resume"]
    if not positional or positional[0].startswith("-"):
        print("usage: python -m xcodec.train CONFIG [--resume] [key=value…]", file=sys.stderr)
        return 2
    logging.basicConfig(format="%(message)s")
    try:
        config = load_config(positional[0], positional[1:])
        from .codec import run

        run(config, resume)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
