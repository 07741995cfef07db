"""The command line: each command is a door to one function."""

import sys
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="Phasegate builds labelled GitHub issues in small phases, each gated by your own CI.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Role = Annotated[
    Literal["all", "web", "worker"],
    typer.Option(help="What this process does; web and worker apart need PostgreSQL and are not built yet."),
]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")]


@app.command()
def serve(host: Host = "127.0.0.1", port: Port = 8000, role: Role = "all") -> None:
    """Run the bot: take webhooks and work builds off."""
    from bot import main, settings

    main.serve(settings.load(), host=host, port=port, role=role)


@app.command()
def demo(
    auto: Annotated[bool, typer.Option(help="Click through by itself, then exit.")] = False,
    example: Annotated[str, typer.Option(help="Folder under examples/.")] = "notifications",
) -> None:
    """Start an embedded GitHub, a bot and, without a key, a simulated model; say where to look."""
    from bot import demo

    raise typer.Exit(demo.run(example, auto=auto))


@app.command()
def show(build: int, json: Annotated[bool, typer.Option(help="Print the record.")] = False) -> None:
    """Print the story of a build: moves, attempts, costs and verdicts."""
    from bot import show as story

    story.run(build, as_json=json)


@app.command()
def states() -> None:
    """Print the state chart as Mermaid."""
    from bot.states import mermaid

    typer.echo(mermaid())


def main() -> None:
    """Run the command line; what a person can mend is said in one sentence."""
    from bot.errors import BotError

    try:
        app()
    except BotError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
