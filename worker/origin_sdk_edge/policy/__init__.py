"""What an HTTP cache may do, decided without I/O.

Three functions of :mod:`.decision` ask the three questions of RFC 9111: may the cache look (section 4), may
it reuse (4.2 and 4.3), may it store (3)? Bodies, clocks and random numbers don't enter here: times are
arguments.
"""
