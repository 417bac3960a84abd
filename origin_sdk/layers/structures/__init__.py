"""Values that Redis keeps as a hash, a set or a sorted set, so that parts of them go over the wire alone.

=================  ================================================================================
``values/shapes``  what of a type is a member and what its value, as bytes and back
``questions``      what may be asked of a structure: of Redis, or of the whole where that is in memory
``reading``        the way to a part: memory, Redis, the loader of the whole
``writing``        writing a part through
``verbs``          what can be done with parts, as flows
``handles``        the same for threads; ``async_handles`` for an event loop
=================  ================================================================================

The record of a structure (``e:KEY``) has a letter for a value: ``h``, ``s`` or ``z`` for what ``s:KEY``
is, the capital if nothing is in it, ``n`` for None. Where a cache seals, a structure is one sealed record
like any other value, and its parts are taken from that in the process.

Why a part that is written can't bring anything outdated back is told in docs/layers-theory.md.
"""
