"""Where mail comes in: who may send what, what is asked about it, and when "250" may be said."""
