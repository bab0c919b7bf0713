from django.apps import AppConfig


class DocsearchConfig(AppConfig):
    name = "poolsite.docsearch"
    verbose_name = "Document search"
