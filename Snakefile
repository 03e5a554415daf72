"""GenMorph: raw scans in, the figures and tables of published papers out.

snakemake --profile profiles/local all                      everything
snakemake --profile profiles/local results/tables/m3ae_table1.csv
snakemake --profile slurm all                               the same on a cluster
snakemake --list-target-rules                               what can be asked for
"""

import signal
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.27")
# Also without an installation: a cluster node sees the checkout.
sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from genmorph.errors import GenmorphError
from genmorph.plan import Plan
from genmorph.processes import shell_prefix


configfile: "config.yaml"


try:
    plan = Plan(config)
except GenmorphError as error:
    raise WorkflowError(str(error))
paths = plan.paths

# The interpreter that reads this file also runs the commands, unless --sdm brings another; they end
# when it is killed, and it leaves a scheduler's warning to them.
deployed = bool(workflow.deployment_settings.deployment_method)
shell.prefix(shell_prefix(Path(workflow.basedir) / "src", deployed=deployed))
signal.signal(signal.SIGUSR1, signal.SIG_IGN)


# for --sdm apptainer: apptainer build envs/genmorph.sif envs/genmorph.def
container: str(Path(workflow.basedir) / "envs/genmorph.sif")


wildcard_constraints:
    **plan.wildcards,


localrules:
    all,
    tables,
    figures,
    notebooks,
    controls,
    tune,


include: "rules/cohorts.smk"
include: "rules/preprocess.smk"
include: "rules/models.smk"
include: "rules/evaluate.smk"
include: "rules/publish.smk"
include: "rules/studies.smk"


onstart:
    # Held until this process ends, however it ends: a second workflow on these results is refused,
    # and nothing stale is left to unlock.
    try:
        plan.lock()
    except GenmorphError as error:
        raise WorkflowError(str(error))
    plan.write_resolved()


rule all:
    """Every table and figure of every study, and the notebooks that read them."""
    default_target: True
    input:
        plan.tables(),
        paths.reported_checks,
        plan.figures(),
        plan.quality_pages(),
        plan.notebooks(),


rule tables:
    """Every table."""
    input:
        plan.tables(),
        paths.reported_checks,


rule figures:
    """Every figure, and the quality page of every preprocessed cohort."""
    input:
        plan.figures(),
        plan.quality_pages(),


rule notebooks:
    """Every notebook, executed on these results."""
    input:
        plan.notebooks(),


rule controls:
    """The measures on data whose answer is known; fails when one of them does."""
    input:
        paths.controls_figure,
        paths.controls_passed,


rule tune:
    """Searches of hyperparameters on the validation scans; not part of `all`."""
    input:
        plan.tables(rows="tuning"),
