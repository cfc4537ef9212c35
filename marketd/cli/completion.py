"""``marketd completion``: what a shell needs to complete marketd's words."""

import click
from click.shell_completion import get_completion_class

from marketd.cli.app import command
from marketd.cli.output import say
from marketd.errors import UsageError

SHELLS = ("bash", "zsh", "fish")


@command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> int:
    """Print the script by which bash, zsh or fish complete commands, options and their values.

    \b
    Examples:
      eval "$(marketd completion bash)"                                   # in ~/.bashrc
      eval "$(marketd completion zsh)"                                    # in ~/.zshrc, after compinit
      marketd completion fish > ~/.config/fish/completions/marketd.fish
    """
    made = get_completion_class(shell)
    if made is None:
        raise UsageError(f"no completion for {shell}")
    say(made(click.Group("marketd"), {}, "marketd", "_MARKETD_COMPLETE").source().strip())
    return 0
