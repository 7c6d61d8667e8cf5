"""DNSSEC on our side: the life of keys, signatures, and the proofs of what is not there.

``policy`` is what somebody wants; ``rollover`` decides, as a pure function, what each key does now and what it waits
for, with ``caches`` as its judge; ``explain`` says it in words. ``keys`` holds and makes keys, ``vault`` encrypts them,
``sign``, ``chain`` and ``signer`` make the records.
"""
