from django.urls import path

from . import views

app_name = "docsearch"
urlpatterns = [
    path("", views.page, name="page"),
    path("api/search", views.api, name="api"),
]
