"""Named SQL: a `.sql` file is a set of statements, each with a name and a sentence that says what it does.

-- name: account_by_code
-- The account that a code and an asset name.
SELECT ...
"""

import re
from dataclasses import dataclass
from importlib import resources

_HEADER = re.compile(r"^-- name: (?P<name>[a-z_]+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of one file by name."""

    source: str
    texts: dict[str, str]
    descriptions: dict[str, str]

    @classmethod
    def of(cls, package: str, file: str) -> "Statements":
        """Read the statements of a file that lies in a package."""
        text = (resources.files(package) / file).read_text(encoding="utf-8")
        parts = _HEADER.split(text)[1:]
        bodies = dict(zip(parts[::2], parts[1::2], strict=True))
        descriptions = {name: _description(body) for name, body in bodies.items()}
        texts = {name: _sql(body) for name, body in bodies.items()}
        return cls(source=f"{package}/{file}", texts=texts, descriptions=descriptions)

    def __getitem__(self, name: str) -> str:
        """Return the statement of that name."""
        return self.texts[name]


def _description(body: str) -> str:
    lines = body.strip().splitlines()
    count = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return " ".join(line.removeprefix("--").strip() for line in lines[:count])


def _sql(body: str) -> str:
    kept = [line for line in body.strip().splitlines() if not line.lstrip().startswith("--")]
    return "\n".join(kept).strip().rstrip(";")
