"""Addresses of the site: the search at the root, the reports, the admin, the pools' dashboard."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("pools/", include("poolmgr.dashboard.urls")),
    path("reports/", include("poolsite.reports.urls")),
    path("", include("poolsite.docsearch.urls")),
]
