from django.conf import settings
from django.urls import path

from . import answers, awaiting, views

app_name = "docsearch"
urlpatterns = [
    path("", views.page, name="page"),
    path("answer/", answers.page if settings.ASYNC_VIEWS else answers.elsewhere, name="answer"),
    path("api/search", awaiting.api if settings.ASYNC_VIEWS else views.api, name="api"),
]
