from django.apps import AppConfig


class ReportsConfig(AppConfig):
    name = "poolsite.reports"
    verbose_name = "Reports"
