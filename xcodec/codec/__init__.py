"""The codec of the paper. Start at :mod:`xcodec.codec.model`."""
