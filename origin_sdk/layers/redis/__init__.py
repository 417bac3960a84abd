"""Redis: how it is reached, what runs inside it, who listens to it, and what is known of it here.

=========================  ============================================================================
:mod:`.link`               which shards are asked; what callers and the listener know in common
:mod:`.history`            what was heard of each shard, and how either learns what only the other knows
:mod:`.debts`              what a shard has to be told of yet
:mod:`.waiters`            who waits for loads of other processes
:mod:`.listener`           the thread that hears, renews locks, pays debts and finds out what is back
:mod:`.client`             asks in a thread; :mod:`.async_client` in an event loop
:mod:`.failures`           what it means that there was no answer, and whose fault it is
:mod:`.reply_shapes`       what a reply to each command has to be
:mod:`.scripts`, `.lua`    what runs inside Redis, and the keys that it touches
:mod:`.sentinels`          which server is the primary
:mod:`.clusters`           the way to a cluster's nodes, one of which may hang
=========================  ============================================================================
"""
