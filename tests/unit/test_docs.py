"""What the docs say is what the code does: tables and charts are compared, not trusted."""

import re
from pathlib import Path

import pytest

import prompts
from bot import commands, policy, settings, states

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_state_chart_of_the_readme_is_drawn_from_the_table():
    assert f"```mermaid\n{states.mermaid()}\n```" in README


def test_the_readme_lists_every_command_as_help_does():
    listed = [line for line in commands.help_text().splitlines() if line.startswith("- ")]

    assert listed
    assert all(line in README for line in listed)


def test_the_settings_table_of_the_readme_is_made_from_the_settings():
    assert settings.table() in README


def test_the_policy_page_holds_the_table_made_from_the_policy():
    assert policy.schema() in (ROOT / "docs/policy.md").read_text()


def test_every_prompt_stands_in_the_index_and_every_line_names_a_file():
    folder = Path(prompts.__file__).parent
    index = (folder / "README.md").read_text()
    files = {path.name for path in folder.glob("*.md")} - {"README.md"}

    assert set(re.findall(r"^\| `([\w-]+\.md)` \|", index, re.MULTILINE)) == files


def test_the_values_a_prompt_takes_are_those_the_index_names():
    index = (ROOT / "prompts/README.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)\.md` \| [^|]* \| ([^|]*) \|$", index, re.MULTILINE)

    for name, values in rows:
        named = set(re.findall(r"`(\w+)`", values)) or (None if "the same" in values else set())
        text = (ROOT / f"prompts/{name}.md").read_text()
        used = set(re.findall(r"{{ (\w+)", text)) | set(re.findall(r"{% (?:if|for \w+ in) (\w+)", text))
        used -= {"item", "decision", "criterion", "path"}
        assert "the same" in values or used == named, name


def test_links_in_the_docs_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("path", ["Dockerfile", "Makefile"])
def test_image_and_makefile_install_by_the_same_steps(path):
    """The image calls the Makefile's own install target, so there is one list of steps."""
    text = (ROOT / path).read_text()

    assert "make install" in text if path == "Dockerfile" else "--require-hashes" in text
    assert path == "Makefile" or "pip " not in text


def test_the_image_holds_every_package_the_project_names():
    packages = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    dockerfile = (ROOT / "Dockerfile").read_text()

    assert packages
    for package in re.findall(r'"(\w+)"', packages.group(1)):
        assert f"COPY {package} {package}" in dockerfile
