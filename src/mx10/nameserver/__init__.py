"""Answering: the authoritative nameserver.

The way of a question: ``batch`` takes packets from the kernel, many at a time; ``compiled`` holds whole answers by the
bytes of the question; only a miss goes on to ``responder`` (what the packet asks), ``answers`` (RFC 1034 section 4.3.2
over the zones) and ``table`` (which zones there are). ``tcp`` does the same for streams. ``worker`` is one process of
it, ``supervisor`` starts workers, watches the zone folder, and replaces what dies.
"""
