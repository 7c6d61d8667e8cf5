"""Who vouches for a message: SPF (RFC 7208), DKIM (RFC 6376, RFC 8463), and whether they are of the sender's
organization.

``vouching`` puts it together; ``spf`` with ``spf_record``, ``dkim`` with ``body``, and ``alignment`` stand alone. What
may live here: rules, and mathematics by others. What may not: sockets, clocks and chance; the DNS is asked through a
function that is handed in (``asking``).
"""
