"""The paper's comparison in miniature: the same language models on the tokens of two codecs. Read __main__.py first."""
