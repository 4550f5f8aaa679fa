"""`python -m xcodec` is the command `xcodec`."""

from xcodec.cli.main import main

if __name__ == "__main__":
    main()
