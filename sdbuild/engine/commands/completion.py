"""The command ``completion``: for shells."""

from __future__ import annotations

from pathlib import Path

from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import Command, Variable
from sdbuild.errors import UsageError

_SCRIPTS = {
    "bash": r"""
_sdbuild() {
    local typed found line=${COMP_LINE:0:COMP_POINT} breaks=${COMP_WORDBREAKS//[^=:]/}
    read -ra typed <<< "$line"
    [[ $line == *[[:space:]] ]] && typed+=("")
    local word=${typed[${#typed[@]}-1]} cut=""
    [[ $breaks ]] && cut=${word%"${word##*[$breaks]}"}  # where bash itself cuts words
    printf -v line '%s\n' "${typed[@]:1}"
    COMPREPLY=()
    while IFS= read -r found; do
        [[ $found == "$word"* ]] && COMPREPLY+=("${found#"$cut"}")
    done < <("$1" completion line="${line%$'\n'}" 2> /dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]] && type compopt &> /dev/null; then
        compopt -o nospace
    fi
}
complete -F _sdbuild NAMES
""",
    "zsh": r"""
#compdef NAMES
_sdbuild() {
    local -a typed found open
    typed=("${(@)words[2,CURRENT-1]}" "$PREFIX")
    found=("${(@f)$(${words[1]} completion line="${(pj:\n:)typed}" 2> /dev/null)}")
    open=(${(M)found:#*[=/]})
    compadd -S '' -- $open
    compadd -- ${found:|open}
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _sdbuild NAMES
""",
    "fish": r"""
function __sdbuild
    set -l words (commandline -opc)
    $words[1] completion line=(string join \n -- $words[2..] (commandline -ct) | string collect) 2> /dev/null
end
complete -c NAMES -f -a '(__sdbuild)'
""",
}


def run(arguments: Arguments, here: Path) -> None:
    """Print the script for a shell, or what could complete a line. Raises UserError."""
    if "line" in arguments.variables:
        from sdbuild.engine.completion import candidates  # imports all that it looks through

        print("\n".join(candidates(arguments.variables["line"].split("\n"), here)))
        return
    shell = arguments.variables.get("shell", "")
    if shell not in _SCRIPTS:
        raise UsageError(f"say for which shell, such as `completion bash`: {', '.join(_SCRIPTS)}")
    print(script(shell, arguments.program))


def script(shell: str, program: str) -> str:
    """What has a shell complete command lines of sdbuild, and of ``program``."""
    names = dict.fromkeys(("sdbuild", program))
    return _SCRIPTS[shell].strip().replace("NAMES", (" -c " if shell == "fish" else " ").join(names))


COMMAND = Command(
    "completion",
    "Use the command line",
    "print the script that completes command lines in bash, zsh or fish",
    """Commands, variables and their values, recipes and variants, tasks, devices and paths are completed. Put the output where
your shell reads it at its start:

bash: `eval "$(sdbuild completion bash)"` in ~/.bashrc. zsh: the same with zsh in ~/.zshrc. fish: `sdbuild completion fish >
~/.config/fish/completions/sdbuild.fish`. What `doit completion` prints, in a checkout, completes lines of doit, too (fish
looks for them in a file `doit.fish`).""",
    run,
    (
        Variable("shell", "bash, zsh or fish", choices=("bash", "zsh", "fish"), bare=True),
        Variable(
            "line", "print what could complete a command line, its words on lines (for the scripts)", may_be_empty=True
        ),
    ),
    (("completion bash", "the script for bash"),),
)
