# Raw trees, made or read, become manifests.


rule simulate_cohort:
    """Make a raw cohort of whole heads with known anatomy."""
    output:
        tree=directory(paths.raw),
    log:
        paths.log("simulate_cohort", "{cohort}"),
    benchmark:
        paths.benchmark("simulate_cohort", "{cohort}")
    conda:
        "../envs/data.yaml"
    threads: plan.config.preprocessing.workers
    resources:
        mem_mb=lambda w, threads, attempt: 1500 * threads * attempt,
        runtime=lambda w, attempt: 240 * attempt,
    params:
        arguments=lambda w: plan.simulation(w.cohort),
        code=lambda w: plan.code("simulate", w.cohort),
    shell:
        "genmorph simulate {params.arguments} --workers {threads} --out {output.tree} > {log} 2>&1"


checkpoint ingest_cohort:
    """List a cohort's scans, its people and their splits."""
    input:
        raw=lambda w: plan.raw_inputs(w.cohort),
    output:
        manifest=paths.manifest,
        participants=paths.participants,
        description=paths.cohort_description,
    log:
        paths.log("ingest_cohort", "{cohort}"),
    benchmark:
        paths.benchmark("ingest_cohort", "{cohort}")
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 2000 * attempt,
        runtime=lambda w, attempt: 30 * attempt,
    params:
        places=lambda w: plan.cohort_arguments(w.cohort),
        folder=paths.cohort,
        listing=lambda w: plan.raw_listing(w.cohort),
        parameters=lambda w: plan.json("ingest", w.cohort),
        code=lambda w: plan.code("ingest", w.cohort),
    shell:
        "genmorph ingest {params.places} --parameters {params.parameters:q}"
        " --out {params.folder} > {log} 2>&1"


rule draw_flow:
    """Draw how many scans pass each stage from the raw tree to the splits."""
    input:
        description=paths.cohort_description,
    output:
        png=paths.flow,
        svg=paths.flow.replace(".png", ".svg"),
    log:
        paths.log("draw_flow", "{cohort}"),
    benchmark:
        paths.benchmark("draw_flow", "{cohort}")
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: 10 * attempt,
    params:
        parameters=lambda w: plan.json("flow", w.cohort),
        code=plan.code("flow"),
    shell:
        "genmorph flow --description {input.description} --parameters {params.parameters:q}"
        " --out {output.png} > {log} 2>&1"
