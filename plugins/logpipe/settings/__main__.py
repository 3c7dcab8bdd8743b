"""``python -m logpipe.settings``: every setting as a table, which is docs/settings.md."""

from logpipe.settings import PROJECT_DIR, Settings


def table() -> str:
    """The settings in Markdown."""
    rows = [
        f"| `LOGPIPE_{name.upper()}` | `{str(field.default).replace(str(PROJECT_DIR) + '/', '') or ' '}` | "
        f"{field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            "Environment variables, read once at the start of each process and checked. "
            "Written by `make docs`.",
            "",
            "| variable | default | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    print(table(), end="")
