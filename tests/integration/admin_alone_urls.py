"""Addresses of a site that serves the admin, and leaves the dashboard to the console's own process."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("poolsite.docsearch.urls")),
]
