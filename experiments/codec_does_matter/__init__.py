"""The paper's experiment in miniature: the same language models on the tokens of two codecs. Read __main__.py first."""
