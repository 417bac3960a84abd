"""A service as people write them with Django REST framework: routers, sessions and tokens, and a login form.

usage: python -m tests.runtime.services.django_shop PORT
"""

import sys
from typing import Any

import django
from django.conf import settings
from werkzeug.serving import run_simple

settings.configure(
    SECRET_KEY="of no account",  # noqa: S106
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["django.example", "127.0.0.1"],
    # What Django behind the Worker needs: docs/frameworks.md
    USE_X_FORWARDED_HOST=True,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    MIDDLEWARE=[
        "origin_sdk.django.CacheFields",
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "rest_framework",
        "rest_framework.authtoken",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:shop?mode=memory&cache=shared"}
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    REST_FRAMEWORK={
        "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "rest_framework.authentication.SessionAuthentication",
            "rest_framework.authentication.TokenAuthentication",
        ],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticatedOrReadOnly"],
        "PAGE_SIZE": 2,
    },
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - once Django is set up
from django.contrib.auth.views import LoginView  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.template import engines  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.views.decorators.http import require_GET  # noqa: E402
from rest_framework import permissions, routers, serializers, viewsets  # noqa: E402
from rest_framework.authtoken.models import Token  # noqa: E402
from rest_framework.decorators import action, api_view, permission_classes  # noqa: E402
from rest_framework.response import Response  # noqa: E402

from origin_sdk.django import add_groups, belongs_to_user, cache_for, invalidate  # noqa: E402


class Product(models.Model):
    """What is sold."""

    name = models.TextField()
    price = models.IntegerField()

    class Meta:
        app_label = "shop"
        ordering = ("id",)

    def __str__(self) -> str:
        return str(self.name)


class ProductSerializer(serializers.ModelSerializer):
    """A product as clients see it."""

    class Meta:
        model = Product
        fields = ("id", "name", "price")


class ProductViewSet(viewsets.ModelViewSet):
    """Products: anyone may look, users may change them. What is seen is the same for everyone."""

    queryset = Product.objects.all()
    serializer_class = ProductSerializer

    def list(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        cache_for(300, stale_while_revalidate=60, for_everyone=True)
        add_groups("products")
        return super().list(request, *args, **kwargs)

    def retrieve(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        cache_for(300, negative=30, for_everyone=True)
        add_groups(f"product-{kwargs['pk']}")
        return super().retrieve(request, *args, **kwargs)

    def perform_update(self, serializer: Any) -> None:
        product = serializer.save()
        invalidate("products", f"product-{product.pk}")

    @action(detail=False)
    def mine(self, request: Any) -> Any:
        """Show what is the user's, with the mistake of declaring that this is for everyone's cache."""
        cache_for(300)
        return Response({"user": request.user.get_username()})


@api_view(["GET"])
@permission_classes([permissions.IsAuthenticated])
def me(request: Any) -> Any:
    belongs_to_user()
    return Response({"user": request.user.get_username()})


@require_GET
def greet(request: Any) -> HttpResponse:
    cache_for(300)
    return JsonResponse({"hello": request.COOKIES.get("jwt", "stranger")})


@require_GET
def addresses(request: Any) -> HttpResponse:
    return JsonResponse({"self": request.build_absolute_uri()})


class Login(LoginView):
    """A login form, whose token is checked together with its origin."""

    def render_to_response(self, context: Any, **_: Any) -> HttpResponse:
        form = "<form method=post>{% csrf_token %}{{ form }}<button>Log in</button></form>"
        return HttpResponse(engines["django"].from_string(form).render(context, self.request))


router = routers.DefaultRouter()
router.register("products", ProductViewSet)
urlpatterns = [
    path("api/", include(router.urls)),
    path("api/me/", me),
    path("login/", Login.as_view(next_page="/api/me/")),
    path("greeting/", greet),
    path("addresses/", addresses),
]


def fill() -> None:
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Product)
    Product.objects.bulk_create(Product(name=name, price=1) for name in ("soup", "bread", "cheese"))
    for name in ("alice", "bob"):
        user = User.objects.create_user(name, password=name)
        Token.objects.create(user=user, key=f"token-of-{name}")


if __name__ == "__main__":
    fill()
    run_simple("127.0.0.1", int(sys.argv[1]), WSGIHandler(), threaded=True)
