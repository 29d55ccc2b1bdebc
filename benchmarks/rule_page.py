"""Draw `docs/rules.md` from the catalogue of rules and the table of planted truth.

python -m benchmarks.rule_page
"""

from __future__ import annotations

import json
from pathlib import Path

from stages.core import canonical
from stages.refine import catalogue

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "rules.md"


def page() -> str:
    """Return the text of the page."""
    truth = json.loads((ROOT / "benchmarks" / "rule_truth.json").read_text("utf-8"))
    rows = {row["rule"]: row for row in truth["rows"]}
    head = "\n".join(catalogue.markdown(rows))
    personal = "\n".join(
        f"| {row['rule'].removeprefix('private: ')} | {100 * row['precision']['share']:.1f} %"
        f" | {100 * row['recall']['share']:.1f} %"
        f" | {100 * row['recall_of_later_forms']['share']:.1f} % |"
        for row in truth["rows"]
        if row["section"] == "personal data"
    )
    told = (
        "## Personal data by type (`filters.private_types`)\n\n"
        "Later forms were written before any detector was changed for what the others showed.\n\n"
        "| type | precision | recall | recall of later forms |\n| --- | --- | --- | --- |\n"
    )
    return f"{head}\n\n{told}{personal}\n"


if __name__ == "__main__":
    canonical.write_text(PAGE, page())
    print(f"wrote {PAGE.relative_to(ROOT)}")
