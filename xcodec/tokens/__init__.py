"""What codes are (`AudioTokenizer`), the file that holds them, and its form as a stream."""

from xcodec.tokens.stream import StreamReader, StreamWriter, open_tokens
from xcodec.tokens.xc_file import (
    AudioTokenizer,
    TokenFile,
    TokenFileError,
    TokenHeader,
    TokenReader,
    TokenWriter,
    from_bytes,
    read_header,
    read_tokens,
    to_bytes,
    write_tokens,
)

__all__ = [
    "AudioTokenizer",
    "StreamReader",
    "StreamWriter",
    "TokenFile",
    "TokenFileError",
    "TokenHeader",
    "TokenReader",
    "TokenWriter",
    "from_bytes",
    "open_tokens",
    "read_header",
    "read_tokens",
    "to_bytes",
    "write_tokens",
]
