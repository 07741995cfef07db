"""What the bot is. The file list is the glossary; `docs/design.md` is the map."""
