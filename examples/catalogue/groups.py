"""Names of the cache groups, and which of them a write changes.

Every response that shows products belongs to `products`, to one category or to one product; the
list of categories, which counts them, belongs to `categories`.
"""

from collections.abc import Iterable

CATEGORIES = "categories"
PRODUCTS = "products"


def product(product_id: int) -> str:
    """Return the group of all responses about one product, the 404 that stands for its absence included."""
    return f"product-{product_id}"


def category(category_id: int) -> str:
    """Return the group of all responses that list one category."""
    return f"category-{category_id}"


def changed_by_write(
    product_id: int, category_ids: Iterable[int], *, counts_changed: bool
) -> tuple[str, ...]:
    """Return the groups to invalidate after a product was written that is, or was, in these categories."""
    members = (product(product_id), *(category(each) for each in sorted(set(category_ids))), PRODUCTS)
    return (*members, CATEGORIES) if counts_changed else members
