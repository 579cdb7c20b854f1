from django.db import models


class User(models.Model):
    name = models.TextField()
    display_name = models.TextField()

    class Meta:
        db_table = "users"
