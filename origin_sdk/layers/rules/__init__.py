"""What the layered cache decides: the theory of operation, and the rules that carry it out.

docs/layers-theory.md tells all of it, with what each loss means. The essentials:

**The promise.** A value is *outdated* when its key or one of its groups was invalidated after its load began.
Who asks after the invalidation never gets it, however calls, processes and losses mix.

**Two measures.** ``seq`` counts what this process has heard of; it orders loads and invalidations of one
process. *Moments* are numbers that a shard of Redis gives out, each once and only upwards; they order loads
and invalidations of all processes. Neither is a time of day, so no machine's clock is trusted.

**Births.** A load's birth is the moment at which it was claimed, before its loader is called. An invalidation
takes its moment when Redis writes it down. So a record holds exactly if no name that it belongs to has a
moment at or after its birth. What a value belongs to is known only when it lands, since loaders add groups:
it is judged there, with all of them, in memory by ``seq`` and in Redis by birth. What is made of other values
is as old as what its process had heard of when it read them, so Redis is told how much that was.

**Generations.** A shard's generation is the moment of its last invalidation. Who has heard of all up to it
may judge a plain read; who may have missed one lets Redis judge. A generation that this process was told of
and that isn't in the shard's history means that Redis has *lost* something: it is told again, or all is
dropped.

**Debts.** An invalidation that Redis didn't confirm is owed. Until it is paid, this process believes nothing
that Redis says of those names, and a shard isn't used again after an outage before it was paid.

**Locks and fences.** A lock that others see spares loads. It bears the load's birth and token, is renewed
while the load goes on, and is gone two seconds after its holder died. A load that may run beside others holds
one that nobody sees. Either is the fence: a result is stored only while its load holds its lock, so a birth
counts in no other history than the one that gave it out.

**Who may wait for whom.** Within a process, followers wait for the flight of who came first; among processes,
for the holder of the lock. A load waits for what its loader asks for. All of these edges are noted before
anyone waits, and then a circle is looked for: so the last one to close it sees it, and raises LoadCycle. Who
loads many ends its own flights and gives back its locks before it waits for those of others.

Where to look:

======================  ==============================================================================
:mod:`.retrieval`       the way to one value: memory, who loads it already, Redis, the loader
:mod:`.batches`         the same for many keys, with one round trip and one call of the loader
:mod:`.patience`        how long a caller waits for a load, and what it gets then
:mod:`.lookup`          what Redis holds, and who judges it
:mod:`.admission`       what of Redis's reply holds, and goes into memory
:mod:`.claims`          the right to load: births, locks, circles among processes
:mod:`.loads`           a load, of one key or of many, from its claim to its landing
:mod:`.entries`         what becomes of a value: its entry in memory, its record for Redis
:mod:`.writes`          write through, delete, invalidate
:mod:`.judge`           what may be made of what is in memory
:mod:`.known_families`  which policy is a family's, and how far its values may go
:mod:`.steps`           what rules ask of the world
======================  ==============================================================================

From an incident to the line that decides: "Five nights" in docs/layers-theory.md.

Rules are coroutines that await steps, and nothing else: :mod:`origin_sdk.layers.cache` carries those out in
threads, :mod:`origin_sdk.layers.async_cache` in an event loop, tests one at a time, in any order.
"""
