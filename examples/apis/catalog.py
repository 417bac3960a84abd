"""The examples by name."""

from examples.apis import ads, feed, graphql, telemetry, tenants

__all__ = ["APIS"]

APIS = {api.name: api for api in (ads.API, feed.API, graphql.API, telemetry.API, tenants.API)}
