"""Addresses of a site whose admin and dashboard have names of its own."""

from django.contrib import admin
from django.urls import include, path

ops = admin.AdminSite(name="ops")
ops.site_header = "Operations"
# The default site's models, but for those of accounts: the two sites don't know the same.
for model, registered in admin.site._registry.items():
    if model._meta.app_label == "poolmgr":
        ops.register(model, type(registered))

urlpatterns = [
    path("ops/", ops.urls),
    path("watch/", include("poolmgr.dashboard.urls", namespace="watch")),
    path("", include("poolsite.docsearch.urls")),
]
