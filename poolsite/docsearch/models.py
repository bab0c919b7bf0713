"""One row for each docstring of the standard library."""

from django.db import models
from pgvector.django import HnswIndex, VectorField

from .embedding import DIMENSIONS


class Document(models.Model):
    module = models.CharField(max_length=100)
    qualname = models.CharField(max_length=150, blank=True, help_text="Empty for the module itself.")
    kind = models.CharField(max_length=10)
    signature = models.TextField(blank=True)
    line = models.PositiveIntegerField()
    text = models.TextField()
    embedding = VectorField(dimensions=DIMENSIONS)
    digest = models.CharField(max_length=32, help_text="Of the embedder and the text: tells what to load again.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["module", "qualname"], name="docsearch_one_row_a_name")]
        indexes = [
            HnswIndex(
                name="docsearch_embedding",
                fields=["embedding"],
                m=16,
                ef_construction=64,
                opclasses=["vector_cosine_ops"],
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        return f"{self.module}.{self.qualname}" if self.qualname else self.module

    @property
    def summary(self) -> str:
        """The docstring's first paragraph, on one line."""
        return " ".join(self.text.partition("\n\n")[0].split())

    @property
    def rest(self) -> str:
        """The whole docstring, when it says more than its summary."""
        return self.text if "\n\n" in self.text else ""

    @property
    def url(self) -> str:
        """Where python.org documents the module."""
        package = self.module.partition(".")[0]
        return f"https://docs.python.org/3/library/{package}.html"
