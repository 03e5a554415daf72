# Scans to volumes on the recipe's grid, by shard.


rule preprocess_shard:
    """Carry out a recipe on the scans of one shard; a scan that fails is a row with its reason."""
    input:
        manifest=ancient(paths.manifest),
    output:
        array=directory(paths.shard_array),
        table=paths.shard_table,
        mosaics=directory(paths.shard_mosaics),
    log:
        paths.log("preprocess_shard", "{cohort}-{recipe}-{shard}"),
    benchmark:
        paths.benchmark("preprocess_shard", "{cohort}-{recipe}-{shard}")
    wildcard_constraints:
        recipe=plan.recipe_patterns["own"],
    conda:
        "../envs/data.yaml"
    threads: plan.config.preprocessing.workers
    resources:
        mem_mb=lambda w, threads, attempt: 3000 * threads * attempt,
        runtime=lambda w, attempt: 240 * attempt,
    params:
        root=lambda w: plan.config.cohort_root(w.cohort),
        rows=lambda w: plan.shard_rows(w.cohort, w.shard),
        parameters=lambda w: plan.json("preprocess", w.recipe),
        code=plan.code("preprocess"),
    shell:
        "genmorph preprocess --manifest {input.manifest} --shard {wildcards.shard}"
        " --cohort {wildcards.cohort} --root {params.root:q} --parameters {params.parameters:q}"
        " --workers {threads} --array {output.array} --mosaics {output.mosaics}"
        " --out {output.table} > {log} 2>&1"


rule resample_shard:
    """Bring one shard of a store onto a coarser grid."""
    input:
        array=lambda w: plan.finer_shard("shard_array", w.cohort, w.recipe, w.shard),
        table=lambda w: plan.finer_shard("shard_table", w.cohort, w.recipe, w.shard),
    output:
        array=directory(paths.shard_array),
        table=paths.shard_table,
    log:
        paths.log("resample_shard", "{cohort}-{recipe}-{shard}"),
    benchmark:
        paths.benchmark("resample_shard", "{cohort}-{recipe}-{shard}")
    wildcard_constraints:
        recipe=plan.recipe_patterns["coarser"],
    conda:
        "../envs/data.yaml"
    threads: plan.config.preprocessing.workers
    resources:
        mem_mb=lambda w, threads, attempt: 1500 * threads * attempt,
        runtime=lambda w, attempt: 60 * attempt,
    params:
        parameters=lambda w: plan.json("resample", w.recipe),
        code=plan.code("resample"),
    shell:
        "genmorph resample {input.table} --from {input.array} --array {output.array}"
        " --parameters {params.parameters:q} --workers {threads} --out {output.table}"
        " > {log} 2>&1"


rule index_store:
    """Gather the shards of a cohort into one store; stop when too many scans failed."""
    input:
        tables=lambda w: plan.shard_tables(
            checkpoints.ingest_cohort.get(cohort=w.cohort).output.manifest,
            w.cohort,
            w.recipe,
        ),
        description=paths.cohort_description,
    output:
        index=paths.index,
        description=paths.store_description,
        status=paths.status,
    log:
        paths.log("index_store", "{cohort}-{recipe}"),
    benchmark:
        paths.benchmark("index_store", "{cohort}-{recipe}")
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: 10 * attempt,
    params:
        parameters=lambda w: plan.json("index", w.recipe),
        code=plan.code("index"),
    shell:
        "genmorph index {input.tables} --cohort-description {input.description}"
        " --parameters {params.parameters:q} --out {output.index} > {log} 2>&1"


rule review_quality:
    """A page on a preprocessed cohort: failures, outliers, measures, pictures."""
    input:
        status=paths.status,
        description=paths.store_description,
    output:
        page=paths.quality_page,
        table=paths.quality_table,
    log:
        paths.log("review_quality", "{cohort}-{recipe}"),
    benchmark:
        paths.benchmark("review_quality", "{cohort}-{recipe}")
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: 10 * attempt,
    params:
        parameters=lambda w: plan.json("quality", w.cohort, w.recipe),
        code=plan.code("quality"),
    shell:
        "genmorph quality {input.status} --store-description {input.description}"
        " --parameters {params.parameters:q} --out {output.page} > {log} 2>&1"
