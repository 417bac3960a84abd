"""What migrations change: neither a fresh database nor an old schema is in the way, and groups are purged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scripts.runtime import paths

_MODELS = """
from django.db import models

from origin_sdk.events.django import EdgeEvents

edge = EdgeEvents()


@edge.purges(groups=["pages"], bulk=["pages"])
class Page(models.Model):
    title = models.CharField(max_length=50)
    late = models.CharField(max_length=50, default="")


@edge.purges(groups=["looked-up"], bulk="rows")
class Picture(models.Model):
    title = models.CharField(max_length=50)
    late = models.CharField(max_length=50, default="")
"""
_MIGRATION = """
from django.db import migrations, models


def change(apps, editor):
    for name in ("Page", "Picture"):
        model = apps.get_model("press", name)
        model.objects.create(title="a")
        model.objects.update(title="b")
        model.objects.filter(title="nobody").update(title="c")
        model.objects.get().save()


def made(name):
    fields = [("id", models.AutoField(primary_key=True)), ("title", models.CharField(max_length=50))]
    return migrations.CreateModel(name, fields)


def widened(name):
    return migrations.AddField(name, "late", models.CharField(max_length=50, default=""))


class Migration(migrations.Migration):
    initial = True
    operations = [
        made("Page"), made("Picture"), migrations.RunPython(change), widened("Page"), widened("Picture"),
    ]
"""
_CHECK = """
import json, warnings
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["press", "origin_sdk.outbox.django"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()
from django.core.management import call_command
from django.db import transaction
from press.models import Page
from origin_sdk.outbox import State
from origin_sdk.outbox.django.store import DjangoOutbox

def recorded():
    return [json.loads(each.payload)["purge"]["groups"] for each in DjangoOutbox().list(list(State), 10)]

with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    call_command("migrate", "press", verbosity=0)  # before the outbox has its table
    call_command("migrate", verbosity=0)
by_migration = recorded()
call_command("migrate", verbosity=0)
again = recorded()
with transaction.atomic():
    Page.objects.update(title="c")
print(json.dumps([by_migration, again, recorded(), sorted({str(each.message)[:30] for each in warned})]))
"""


def test_what_a_migration_changes_is_purged_once_all_have_run(tmp_path: Path) -> None:
    for name, text in {
        "press/__init__.py": "",
        "press/models.py": _MODELS,
        "press/migrations/__init__.py": "",
        "press/migrations/0001_initial.py": _MIGRATION,
        "check.py": _CHECK,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "check.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{paths.ROOT}:{paths.ROOT / 'worker'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    by_migration, again, later, warned = json.loads(done.stdout)
    assert by_migration == again == [["pages"]]
    assert later == [["pages"], ["pages"]]
    assert len(warned) == 1
