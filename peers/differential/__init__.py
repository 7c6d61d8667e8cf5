"""The same zones and the same questions to mx10 and four other nameservers, and every difference explained or reported.

``zones`` draws zones by a seed, ``questions`` what to ask of them, ``answers`` brings what servers say into
comparable form, ``explained`` is the table of differences that an RFC allows, and ``run`` puts them together. By
hand::

    python -m peers.differential --seed 7 --count 5000
"""
