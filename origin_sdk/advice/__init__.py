"""What to change, by what was counted: advice with its evidence, a setting, and what it would bring.

The evidence is what the Worker counted (:class:`origin_sdk_wire.metrics.Counts`), of itself or in a replay
of an access log; :mod:`.findings` draws advice from it, and :mod:`.trial` tries advice on the log.
"""
