"""The purge log: an entry for each purge, where readers find what is new without reading each mark.

Marks are the truth. The log says the same in another order: by time, not by name. Whoever writes marks writes
the purge's *entries*, too, in the same bulk request, each under a key of its own that no other write can take
back::

    p2/29929080/20261128T120000-1f0c    {"at": 1795744800000, "names": ["group/product-17"]}

The number is the minute of the entry's moment, so that the newest can be listed; the metadata is the entry,
so that a list shows it all. Names that don't fit go into further ones, with ``.1``, ``.2`` behind the id. A
later try of the same write carries a later moment: of two entries of one id the later counts.

A *switch* is an entry, too: what the cache does differently until a time, with who said so and why.

One place, a Durable Object, numbers the entries as it learns of them, and answers readers with a *page* of
what is new since a number. A page vouches for what it doesn't show: no other purge has a moment at or after
``covers_from_ms``, as surely as a reader of all marks would know it who read them at ``known_ms``.
"""
