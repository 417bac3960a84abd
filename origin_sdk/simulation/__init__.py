"""What the edge cache would do with the traffic of an access log.

A replay drives the Worker's own policy, keys, lifetimes and purges (``origin_sdk_edge.policy``,
``origin_sdk_wire``) with the requests of a log, on stated assumptions of what no log holds: how many
locations and isolates there are, what fields the responses have. :mod:`.accesslog` reads the log,
:mod:`.edge` is the model, :mod:`.replay` runs it, and :mod:`.report` tells.
"""
