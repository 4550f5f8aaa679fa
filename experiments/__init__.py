"""Research that the documentation reports: each package reproduces its figures by one command."""
