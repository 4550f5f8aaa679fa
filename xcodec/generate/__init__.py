"""A language model and a codec make audio: speech from text, music that continues a recording, sounds from captions."""
