"""The pages of the inventory."""

app_name = "inventory"
urlpatterns: list[object] = []
