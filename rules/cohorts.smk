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
        "../envs/genmorph.yaml"
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
        "../envs/genmorph.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 2000 * attempt,
        runtime=lambda w, attempt: 30 * attempt,
    params:
        root=lambda w: plan.config.cohort_root(w.cohort),
        folder=paths.cohort,
        listing=lambda w: plan.raw_listing(w.cohort),
        parameters=lambda w: plan.json("ingest", w.cohort),
        code=lambda w: plan.code("ingest", w.cohort),
    shell:
        "genmorph ingest --root {params.root:q} --parameters {params.parameters:q}"
        " --out {params.folder} > {log} 2>&1"
