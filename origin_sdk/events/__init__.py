"""What to purge or publish follows from what happened: changes of models, calls, messages, webhooks.

Modules by source: ``sqlalchemy``, ``django``, ``calls`` (a decorator and a context manager), ``postgres``
(LISTEN/NOTIFY), ``streams`` (Redis) and ``webhook``. All of them record into an outbox.
"""
