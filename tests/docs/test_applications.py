"""The pages about applications: their rules are valid, and what they register purges."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from origin_sdk._process.clock import SystemClock
from origin_sdk.testing import FakeKV, assert_purged
from origin_sdk_edge.hooks import HookRequest, HookResponse
from origin_sdk_wire.config import problems
from scripts.runtime.paths import ROOT

PAGE = (ROOT / "docs" / "before-your-application.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

DJANGO = """
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["origin_sdk.outbox.django", "shop"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
from django.core.management import call_command
from django.db import connection, transaction
import shop.edge
from origin_sdk.outbox.django.store import DjangoOutbox as Outbox
from shop.models import Product
call_command("migrate", verbosity=0)
with connection.schema_editor() as editor:
    editor.create_model(Product)
with transaction.atomic():
    Product.objects.create(pk=17, price=1, category="tea")
outbox = Outbox()
"""
SQLALCHEMY = """
import edge
from models import Product, engine, sessions
from origin_sdk.outbox.sqlalchemy import SqlAlchemyOutbox
with sessions() as session:
    session.add(Product(id=17, price=1))
    session.commit()
outbox = SqlAlchemyOutbox(engine)
"""
TOLD = """
from origin_sdk import PurgeClient
from origin_sdk.outbox import Drainer
with PurgeClient() as client:
    [made] = Drainer(outbox, client).drain()
assert made.done == 1, made
"""
FILES = {
    "shop/__init__.py": "",
    "shop/models.py": """
from django.db import models
class Product(models.Model):
    price = models.IntegerField()
    category = models.CharField(max_length=50)
""",
    "models.py": """
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from origin_sdk.outbox.sqlalchemy import outbox_table
class Base(DeclarativeBase): ...
outbox_table(Base.metadata)
class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]
engine = create_engine("sqlite:///shop.db")
sessions = sessionmaker(engine)
Base.metadata.create_all(engine)
""",
}


@pytest.mark.parametrize("rules", re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_the_rules_are_valid(rules: str) -> None:
    found = problems({"ORIGIN": "http://127.0.0.1:8000", **tomllib.loads(rules)["vars"]})
    assert (found.errors, found.warnings) == ((), ())


@pytest.mark.parametrize("check", [DJANGO, SQLALCHEMY], ids=["Django", "SQLAlchemy"])
def test_what_is_registered_purges(check: str, tmp_path: Path) -> None:
    for name, text in {**FILES, **SNIPPETS, "check.py": check + TOLD}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    fake = FakeKV(clock=SystemClock())
    with fake.serve() as url:
        settings = {"CLOUDFLARE_API_BASE_URL": url, "EDGE_CACHE_NAMESPACE_ID": fake.namespace_id}
        done = subprocess.run(
            [sys.executable, "check.py"],
            cwd=tmp_path,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert_purged(fake, group="catalogue")


@pytest.mark.parametrize(
    ("path", "groups"),
    [("/products/17", '"product-17"'), ("/products/x", None), ("/products", None), ("/about", None)],
)
def test_the_hook_names_groups_by_path(path: str, groups: str | None) -> None:
    names: dict[str, Any] = {}
    exec(compile(SNIPPETS["worker/hooks.py"], "worker/hooks.py", "exec"), names)  # noqa: S102 - the page's own
    request = HookRequest("GET", f"https://api.example.com{path}")
    changed = names["after_origin"](request, HookResponse(200))
    assert (changed and changed.fields["cache-groups"]) == groups
