"""The DNS protocol without I/O: names, questions, answers and record data as bytes.

Nothing here opens a socket, reads a clock or knows a zone. Bytes that come from outside are parsed into values, or
refused with an error of this package; bytes that go out are made here and nowhere else.
"""
