"""What we publish: zones, and the master files they are written in.

``zone`` is the value; ``master`` reads a file into records with their places, ``tokens``, ``plain``, ``generate`` and
``source`` help it; ``build`` makes a zone of the records and ``rules`` judges it; ``folder`` keeps the zones of a
folder. No question is answered here and no socket is opened. Whatever a file holds, it becomes a zone and a list of
``problems``, never an exception.
"""
