# Measurements to tables, stores and checkpoints to figures.


rule make_table:
    """Write a paper's table: the reported number beside the measured one."""
    input:
        measurements=lambda w: plan.measurements(w.study, w.table),
        trainings=lambda w: plan.training_summaries(w.study, w.table),
    output:
        csv=paths.table,
        cells=paths.table.replace(".csv", "_cells.csv"),
        markdown=paths.table.replace(".csv", ".md"),
        latex=paths.table.replace(".csv", ".tex"),
    log:
        paths.log("make_table", "{study}-{table}"),
    benchmark:
        paths.benchmark("make_table", "{study}-{table}")
    conda:
        "../envs/publishing.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: 10 * attempt,
    params:
        trainings=lambda w, input: [f"--training {file}" for file in input.trainings],
        parameters=lambda w: plan.json("table", w.study, w.table),
        code=lambda w: plan.code("table", w.study, w.table),
    shell:
        "genmorph table {input.measurements} {params.trainings}"
        " --parameters {params.parameters:q} --out {output.csv} > {log} 2>&1"


rule make_figure:
    """Draw a paper's figure."""
    input:
        lambda w: plan.figure_inputs(w.study, w.figure),
    output:
        png=paths.figure,
        svg=paths.figure.replace(".png", ".svg"),
    log:
        paths.log("make_figure", "{study}-{figure}"),
    benchmark:
        paths.benchmark("make_figure", "{study}-{figure}")
    conda:
        "../envs/publishing.yaml"
    threads: plan.config.compute.threads
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        runtime=lambda w, attempt: 30 * attempt,
    params:
        modules=lambda w: plan.figure_modules(w.study, w.figure),
        parameters=lambda w: plan.json("figure", w.study, w.figure),
        code=lambda w: plan.code("figure", w.study, w.figure),
    shell:
        "genmorph figure {input} {params.modules} --parameters {params.parameters:q}"
        " --out {output.png} > {log} 2>&1"


rule make_reported_checks:
    """Check the numbers that the papers print against each other; needs no data."""
    output:
        csv=paths.reported_checks,
        markdown=paths.reported_checks.replace(".csv", ".md"),
    log:
        paths.log("make_reported_checks", "reported_checks"),
    benchmark:
        paths.benchmark("make_reported_checks", "reported_checks")
    conda:
        "../envs/publishing.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: 10 * attempt,
    params:
        parameters=plan.json("checks"),
        code=plan.code("checks"),
    shell:
        "genmorph checks --parameters {params.parameters:q} --out {output.csv} > {log} 2>&1"


rule run_notebook:
    """Execute a copy of a notebook that reads the results, and make a page of it."""
    input:
        notebook=ancient("notebooks/{notebook}.ipynb"),
        reads=lambda w: plan.notebook_inputs(w.notebook),
    output:
        notebook=paths.notebook,
        page=paths.notebook.replace(".ipynb", ".html"),
    log:
        paths.log("run_notebook", "{notebook}"),
    benchmark:
        paths.benchmark("run_notebook", "{notebook}")
    conda:
        "../envs/publishing.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        runtime=lambda w, attempt: 30 * attempt,
    params:
        results=lambda w, output: str(Path(output.notebook).parents[1]),
        reads=lambda w, input: " ".join(f"--reads {file}" for file in input.reads),
        parameters=lambda w: plan.json("notebook", w.notebook),
        code=lambda w: plan.code("notebook", w.notebook),
    shell:
        "genmorph notebook {input.notebook} {params.reads} --results {params.results}"
        " --out {output.notebook} > {log} 2>&1"
