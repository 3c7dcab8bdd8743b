"""``python -m logpipe.settings``: every setting as a table, which is docs/settings.md."""

from logpipe.settings import PROJECT_DIR, Settings


def _default(value: object) -> str:
    text = "" if value is None else str(value).replace(f"{PROJECT_DIR}/", "")
    return f"`{text}`" if text else ""


def table() -> str:
    """The settings in Markdown."""
    rows = [
        f"| `LOGPIPE_{name.upper()}` | {_default(field.default)} | {field.description} |"
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
