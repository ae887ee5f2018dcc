"""whisper.cpp's own C functions, found in the shared libraries of pywhispercpp's wheel.

`quantise` calls its quantiser, `parity` runs a converted file and compares it with Transformers. `__main__` is the
process in which the file runs, because whisper.cpp aborts its process on an error.
"""
