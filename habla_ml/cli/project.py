"""`habla-ml init`, `habla-ml demo` and `habla-ml dev`: begin a project, try one, and open its pages."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from habla_ml.api import open_deployment
from habla_ml.cli.context import print_line
from habla_ml.cli.dagster_home import (
    DAGSTER_CONFIG_FILE,
    DEMO_PROFILE,
    find_dagster_home,
    find_shipped_dagster_config,
)
from habla_ml.cli.environment_file import require_same_variables
from habla_ml.cli.extras import DEMO_EXTRAS, find_missing_extras
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import InputError
from habla_ml.project_files import find_shipped_root, write_project
from habla_ml.settings import configs_folder

DEMO_FOLDER: Final = Path("habla-demo")
DEV_LOG: Final = "dev.log"
LAST_LINES: Final = 20
UI_PORT: Final = 3000


def init_command(
    folder: Annotated[Path, typer.Argument(help="Where the project is written; created where it is missing.")] = Path(),
) -> None:
    """Write a project that you own: profiles, recipes, conventions, Dagster's files. A file that exists is kept.

    Example: habla-ml init my-school
    """
    made = write_project(folder)
    print_line(f"{len(made.written)} files written to {folder.resolve()}")
    if made.kept:
        print_line(f"{len(made.kept)} kept as they are: {', '.join(made.kept[:5])}{' …' if made.kept[5:] else ''}")
    print_line("next:")
    if folder.resolve() != Path.cwd():
        print_line(f"  cd {shlex.quote(str(folder))}")
    print_line("  set recordings.folder in configs/local.yaml to Habla's data/audio/recordings")
    print_line("  habla-ml doctor        lists what is missing")
    print_line("  habla-ml dev           opens the Dagster UI and the service")


def demo_command() -> None:
    """Synthesise a classroom, run the whole pipeline on it twice, and send clips of a phone through the service.

    Outside of a project it writes one to `habla-demo` first. All results are in `var/demo`.
    """
    from habla_ml.demo.run_demo import run_demo

    if missing := find_missing_extras(DEMO_EXTRAS):
        raise InputError(f"the demo needs the extras {', '.join(missing)}; run pip install 'habla-ml[demo]'")
    if not (configs_folder() / f"{DEMO_PROFILE}.yaml").is_file() and "HABLA_CONFIGS" not in os.environ:
        write_project(DEMO_FOLDER)
        os.chdir(DEMO_FOLDER)
        print_line(f"in {Path.cwd()}, a new project")
    run_demo(Console())


def dev_command(
    profile: Profile = None,
    ui_port: Annotated[
        int, typer.Option("--ui-port", min=1, max=65_535, help="Port of the Dagster UI on this machine.")
    ] = UI_PORT,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print what the programs log, in place of a file.")
    ] = False,
) -> None:
    """Open the Dagster UI with its daemon, and the service. Ctrl+C ends all of them.

    What they log is in `dev.log` in DAGSTER_HOME, which begins anew at each start.

    Example: habla-ml dev -p demo
    """
    from habla_ml.process import find_port_problem, run_until_one_ends

    is_demo = (profile or os.environ.get("HABLA_PROFILE")) == DEMO_PROFILE
    if is_demo and not (configs_folder().parent / "var" / "demo").is_dir():
        raise InputError("the demo was not run here yet; run `habla-ml demo` first")
    settings = open_deployment(profile).settings
    home = find_dagster_home(settings)
    os.environ.update(DAGSTER_HOME=str(home), HABLA_PROFILE=settings.profile_option)
    require_same_variables()
    if problem := find_port_problem(ui_port):
        raise InputError(f"{problem}, or give another port with --ui-port")
    from habla_ml.defs.future_ticks import reset_instance_ticks

    home.mkdir(parents=True, exist_ok=True)
    root = configs_folder().parent
    for source, target in (
        (find_shipped_dagster_config(), home / DAGSTER_CONFIG_FILE),
        (find_shipped_root() / "workspace.yaml", root / "workspace.yaml"),
    ):
        if not target.exists():
            shutil.copyfile(source, target)
    programs = Path(sys.executable).parent
    # Dagster starts `dagster` and `python` by their names.
    path = os.pathsep.join([str(programs), os.environ.get("PATH", "")])
    os.environ["PATH"] = path
    reset_instance_ticks()
    dagster = [str(programs / "dg"), "dev", "-w", "workspace.yaml", "--port", str(ui_port)]
    commands = [[str(programs / "habla-ml"), "serve"], dagster]
    log = home / DEV_LOG
    print_line(f"pages        http://{settings.service.host}:{settings.service.port}")
    print_line(f"Dagster UI   http://localhost:{ui_port}   (after up to a minute)")
    if verbose:
        sys.exit(run_until_one_ends(commands, root))
    print_line(f"log          {log}")
    print_line("Ctrl+C ends all of it; until then leave this window open")
    code = run_until_one_ends(commands, root, log)
    if code:
        print_line("\n".join(log.read_text("utf-8", "replace").splitlines()[-LAST_LINES:]))
        print_line(f"a program ended with {code}; the whole log is {log}")
    sys.exit(code)
