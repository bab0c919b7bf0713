from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.name


class Domain(DomainMixin):
    pass
