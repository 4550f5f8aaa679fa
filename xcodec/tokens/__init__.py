"""What codes are: the file that holds them, and its form as a stream."""
