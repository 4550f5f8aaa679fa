"""`xcodec app`: a page on this machine to hear codecs, see tokens and generate audio. START HERE at server.py.

Each tab is a file: listen, compare, tokens and generate. Results are HTML that holds its audio and pictures, so that
nothing is left on the disk. Gradio is imported where it is used.
"""
