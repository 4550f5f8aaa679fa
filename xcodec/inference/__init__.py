"""A codec at work on sound of any length: streams, pipes, files, folders, corpora, exported graphs."""
