from django.db import migrations, models
from pgvector.django import HnswIndex, VectorExtension, VectorField


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        VectorExtension(),
        migrations.CreateModel(
            name="Document",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("module", models.CharField(max_length=100)),
                ("qualname", models.CharField(blank=True, help_text="Empty for the module itself.", max_length=150)),
                ("kind", models.CharField(max_length=10)),
                ("signature", models.TextField(blank=True)),
                ("line", models.PositiveIntegerField()),
                ("text", models.TextField()),
                ("embedding", VectorField(dimensions=512)),
                (
                    "digest",
                    models.CharField(
                        help_text="Of the embedder and the text: tells what to load again.", max_length=32
                    ),
                ),
            ],
        ),
        # Out of line, in the TOAST table, a vector costs a second look-up for every distance, and the planner, which
        # doesn't count that, passes over the index.
        migrations.RunSQL(
            "ALTER TABLE docsearch_document ALTER COLUMN embedding SET STORAGE PLAIN",
            reverse_sql=migrations.RunSQL.noop,
        ),
        migrations.AddConstraint(
            model_name="document",
            constraint=models.UniqueConstraint(fields=("module", "qualname"), name="docsearch_one_row_a_name"),
        ),
        migrations.AddIndex(
            model_name="document",
            index=HnswIndex(
                ef_construction=64,
                fields=["embedding"],
                m=16,
                name="docsearch_embedding",
                opclasses=["vector_cosine_ops"],
            ),
        ),
    ]
