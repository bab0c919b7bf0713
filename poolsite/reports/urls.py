from django.urls import path

from . import views

app_name = "reports"
urlpatterns = [
    path("", views.page, name="page"),
    path("words/", views.count, name="count"),
    path("words/<uuid:number>/", views.words, name="words"),
]
