"""A language model and a codec make audio: `speech.py`, `music.py`, `sound.py`."""
