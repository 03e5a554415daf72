# Stores to checkpoints, checkpoints to volumes. Models and trivial references are runs alike.


rule train_model:
    """Train one model; a job that is killed or preempted goes on from its last checkpoint."""
    input:
        index=lambda w: plan.store_index(w.study, w.model),
        manifest=lambda w: plan.cohort_file("manifest", w.study),
        participants=lambda w: plan.cohort_file("participants", w.study),
    output:
        weights=paths.checkpoint,
        metrics=paths.training_metrics,
        summary=paths.training_summary,
    log:
        paths.log("train_model", "{study}-{model}-{cohort}-{population}-{seed}"),
    benchmark:
        paths.benchmark("train_model", "{study}-{model}-{cohort}-{population}-{seed}")
    conda:
        "../envs/models.yaml"
    threads: plan.config.compute.training_threads * plan.config.compute.devices
    resources:
        **plan.gpu_resources(plan.config.compute.devices),
        mem_mb=lambda w, attempt: plan.training_memory_mb(w.study, w.model) * attempt,
        # every attempt goes on from the last checkpoint: none needs longer than the first
        runtime=1440,
    params:
        state=paths.state,
        parameters=lambda w: plan.json("train", w.study, w.model),
        code=lambda w: plan.code("train", w.study, w.model),
    shell:
        "genmorph train --index {input.index} --manifest {input.manifest}"
        " --participants {input.participants} --state {params.state} --seed {wildcards.seed}"
        " --parameters {params.parameters:q} --out {output.weights} > {log} 2>&1"


rule sample_run:
    """Draw volumes from a trained model, or from a trivial reference."""
    input:
        weights=lambda w: plan.checkpoint(w.study, w.model, w.seed),
        index=lambda w: plan.store_index(w.study, w.model),
        manifest=lambda w: plan.cohort_file("manifest", w.study),
        participants=lambda w: plan.cohort_file("participants", w.study),
    output:
        index=f"{paths.samples}/index.tsv",
        description=f"{paths.samples}/store.json",
        array=directory(f"{paths.samples}/shard-0000.zarr"),
    log:
        paths.log("sample_run", "{study}-{model}-{cohort}-{population}-{seed}"),
    benchmark:
        paths.benchmark("sample_run", "{study}-{model}-{cohort}-{population}-{seed}")
    conda:
        "../envs/models.yaml"
    threads: plan.config.compute.threads
    resources:
        **plan.gpu_resources(),
        mem_mb=lambda w, attempt: 8000 * attempt,
        runtime=lambda w, attempt: 240 * attempt,
    params:
        weights=lambda w, input: (
            f"--checkpoint {input.weights}" if input.weights else ""
        ),
        parameters=lambda w: plan.json("sample", w.study, w.model),
        code=lambda w: plan.code("sample", w.study, w.model),
    shell:
        "genmorph sample {params.weights} --index {input.index} --manifest {input.manifest}"
        " --participants {input.participants} --cohort {wildcards.cohort}"
        " --population {wildcards.population} --seed {wildcards.seed}"
        " --parameters {params.parameters:q} --out {output.index} > {log} 2>&1"


rule reconstruct_run:
    """Reconstruct the held-out scans with a trained model, or a trivial reference."""
    input:
        weights=lambda w: plan.checkpoint(w.study, w.model, w.seed),
        index=lambda w: plan.store_index(w.study, w.model),
        manifest=lambda w: plan.cohort_file("manifest", w.study),
        participants=lambda w: plan.cohort_file("participants", w.study),
    output:
        index=f"{paths.reconstructed}/index.tsv",
        description=f"{paths.reconstructed}/store.json",
        array=directory(f"{paths.reconstructed}/shard-0000.zarr"),
    log:
        paths.log(
            "reconstruct_run",
            "{study}-{model}-{cohort}-{population}-{seed}-{reconstructed}",
        ),
    benchmark:
        paths.benchmark(
            "reconstruct_run",
            "{study}-{model}-{cohort}-{population}-{seed}-{reconstructed}",
        )
    conda:
        "../envs/models.yaml"
    threads: plan.config.compute.threads
    resources:
        **plan.gpu_resources(),
        mem_mb=lambda w, attempt: 8000 * attempt,
        runtime=lambda w, attempt: 240 * attempt,
    params:
        weights=lambda w, input: (
            f"--checkpoint {input.weights}" if input.weights else ""
        ),
        parameters=lambda w: plan.json("reconstruct", w.study, w.model, w.reconstructed),
        code=lambda w: plan.code("reconstruct", w.study, w.model, w.reconstructed),
    shell:
        "genmorph reconstruct {params.weights} --index {input.index} --manifest {input.manifest}"
        " --participants {input.participants} --cohort {wildcards.cohort}"
        " --population {wildcards.population} --seed {wildcards.seed}"
        " --parameters {params.parameters:q} --out {output.index} > {log} 2>&1"
