"""Published states of stored resources, and what was in them."""

from django.db import models


class Generation(models.Model):
    """One published state of a stored resource. Earlier ones stay for a while, to revert to."""

    team_path = "resource__team"

    resource = models.ForeignKey("inventory.StoredResource", on_delete=models.PROTECT, related_name="generations")
    name = models.CharField(max_length=100)
    based_on = models.CharField(max_length=100, blank=True)
    target = models.ForeignKey(
        "servicing.RunTarget", null=True, blank=True, on_delete=models.SET_NULL, related_name="generations"
    )
    published_at = models.DateTimeField()
    compliance = models.CharField(max_length=20, blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["resource", "name"],
                name="servicing_generation_unique_name",
                violation_error_message="This machine has this generation already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.resource} {self.name}"


class PackageReport(models.Model):
    """The packages of a guest before or after its servicing, and what was pending then."""

    team_path = "target__run__job__team"

    target = models.ForeignKey("servicing.RunTarget", on_delete=models.CASCADE, related_name="package_reports")
    moment = models.CharField(max_length=10)  # "before" or "after"
    taken_at = models.DateTimeField()
    packages = models.JSONField(help_text="Name to version.")
    pending = models.JSONField(help_text="What the update system offered and the guest didn't have.")

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["target", "moment"],
                name="servicing_packagereport_once",
                violation_error_message="There is a report of this moment already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.moment}: {len(self.packages)} packages"
