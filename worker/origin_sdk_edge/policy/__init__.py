"""What an HTTP cache may do, decided without I/O.

RFC 9111 asks three questions, each a module here: may the cache look for a stored response (section 4,
:mod:`.lookup`), may it reuse it (4.2 and 4.3, :mod:`.reuse`), may it store one (3, :mod:`.outcome`)? What
they decide are the values of :mod:`.decision`. Bodies, clocks and random numbers don't enter here: times are
arguments.
"""
