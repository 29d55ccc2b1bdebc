"""The `deveno` command."""
