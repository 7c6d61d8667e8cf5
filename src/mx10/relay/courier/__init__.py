"""The courier: takes one message to those of its recipients that have the same way, and says what became of each.

``splitting`` groups recipients by their next hop, ``delivery`` follows a ``routing.Route`` host by host, ``local``
hands over to LMTP, a Maildir or a webhook, ``classify`` says what a reply means for the queue, ``reports`` writes to
the sender. What may live here: one attempt. What may not: when the next one is (the queue), and which mail is taken
(the door).
"""
