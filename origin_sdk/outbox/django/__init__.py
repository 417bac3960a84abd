"""The outbox in Django's database: ``INSTALLED_APPS += ["origin_sdk.outbox.django"]``, then ``migrate``.

::

    from origin_sdk.outbox.django.store import DjangoOutbox, record

    with transaction.atomic():
        product.save()
        record(Purge.of(groups=f"product-{product.pk}"))
"""
