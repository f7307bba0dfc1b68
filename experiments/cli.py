"""The command line `symla`: each of its commands has a class of options in `_options.py`.

Options are read before anything heavy is imported, so that `--help` and most mistakes answer at
once.
"""

import contextlib
import importlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

from ._names import COMMANDS, choose
from ._options import Bench, Certify, Demo, Evaluate, List, Matrix, Options, Reproduce, Train, Watch
from ._scale import keep_compiled_programs

_NO_CACHE = "--no-compile-cache"
_DESCRIPTION = f"""Learning algorithms that are learned: symmetric learning agents (SymLA) in JAX.

Begin with `symla demo`. Each command explains its options: `symla train --help`.

Compiled programs are kept in the user's cache folder, or where JAX_COMPILATION_CACHE_DIR says;
with {_NO_CACHE} they are not.
"""
# Where each command is carried out, and shown to people.
_RUN = {
    Demo: ("experiments._commands", "demo", "show_demo"),
    Train: ("experiments._train", "train", "show_train"),
    Evaluate: ("experiments._evaluate", "evaluate", "show_evaluate"),
    Matrix: ("experiments._matrix", "matrix", "show_matrix"),
    Reproduce: ("experiments._commands", "reproduce", "show_reproduce"),
    Certify: ("experiments._certify", "certify", "show_certify"),
    Watch: ("experiments._watch", "watch", "show_watch"),
    Bench: ("experiments._bench", "bench", "show_bench"),
    List: ("experiments._commands", "list_names", "show_list"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Mistakes end in one plain line on standard error and the exit status 2; an interrupt in 130;
    and what could not be proved in 1.

    **Arguments:**

    - `argv`: the arguments, `sys.argv[1:]` by default.
    """
    from_shell = argv is None
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _main(argv)
    except (ValueError, OSError) as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("symla: interrupted\n")
        if from_shell:
            # XLA may still be at work, and would crash noisily where Python is taken down in order.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(130)
        raise SystemExit(130) from None
    if status:
        raise SystemExit(status)


def _main(argv: list[str]) -> int:
    """Carry out a command; its exit status."""
    if argv and not argv[0].startswith("-"):
        choose("command", argv[0], COMMANDS)
    if argv == ["--version"]:
        sys.stdout.write(f"symla {importlib.metadata.version('symla')}\n")
        return 0
    keep = _NO_CACHE not in argv
    options = parse([word for word in argv if word != _NO_CACHE] or ["--help"])
    if keep:
        keep_compiled_programs()
    module, run, show = _RUN[type(options)]
    # Progress must not end up in what a machine reads.
    where = sys.stderr if options.json_output else sys.stdout
    with contextlib.redirect_stdout(where):
        result = getattr(importlib.import_module(module), run)(options)
    if options.json_output:
        sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")
    else:
        getattr(importlib.import_module(module), show)(result)
    if not result.get("finished", True):
        return 130
    return 0 if result.get("proved", True) else 1


def parse(argv: Sequence[str]) -> Options:
    """The options of a command, from its arguments."""
    import tyro
    from tyro.conf import DisallowNone, FlagCreatePairsOff, subcommand

    def brief(command: type) -> str | None:
        """One line for the list of commands; a command's own help shows its whole text."""
        return None if set(argv) & set(COMMANDS) else (command.__doc__ or "").partition("\n")[0]

    return tyro.cli(
        Annotated[Demo, subcommand("demo", description=brief(Demo))]
        | Annotated[Train, subcommand("train", description=brief(Train))]
        | Annotated[Evaluate, subcommand("evaluate", description=brief(Evaluate))]
        | Annotated[Matrix, subcommand("matrix", description=brief(Matrix))]
        | Annotated[Reproduce, subcommand("reproduce", description=brief(Reproduce))]
        | Annotated[Certify, subcommand("certify", description=brief(Certify))]
        | Annotated[Watch, subcommand("watch", description=brief(Watch))]
        | Annotated[Bench, subcommand("bench", description=brief(Bench))]
        | Annotated[List, subcommand("list", description=brief(List))],
        prog="symla",
        description=_DESCRIPTION,
        args=argv,
        config=(DisallowNone, FlagCreatePairsOff),
    )


def _fail(error: Exception) -> NoReturn:
    text = " ".join(str(error).split()) or type(error).__name__
    sys.stderr.write(f"symla: error: {text}\n")
    raise SystemExit(2) from None


if __name__ == "__main__":
    main()
