"""A product-catalogue API over SQLite: the demo origin behind the edge cache."""
