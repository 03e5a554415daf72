# Stores to measurements.


rule measure_run:
    """Measure a run's samples or reconstructions against the held-out scans."""
    input:
        generated=lambda w: plan.measured_store(w.study, w.model, w.seed, w.measure),
        reference=lambda w: plan.store_index(w.study),
        manifest=lambda w: plan.cohort_file("manifest", w.study),
        participants=lambda w: plan.cohort_file("participants", w.study),
        weights=lambda w: plan.measure_weights(w.study, w.measure),
    output:
        measurement=paths.measurement,
    log:
        paths.log(
            "measure_run", "{study}-{model}-{cohort}-{population}-{seed}-{measure}"
        ),
    benchmark:
        paths.benchmark(
            "measure_run", "{study}-{model}-{cohort}-{population}-{seed}-{measure}"
        )
    conda:
        "../envs/genmorph.yaml"
    threads: plan.config.compute.threads
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        runtime=lambda w, attempt: 240 * attempt,
    params:
        kind=lambda w: plan.measure_kind(w.study, w.measure),
        weights=lambda w, input: (
            f"--feature-weights {input.weights}" if input.weights else ""
        ),
        parameters=lambda w: plan.json("evaluate", w.study, w.measure),
        code=lambda w: plan.code(f"evaluate.{plan.measure_kind(w.study, w.measure)}"),
    shell:
        "genmorph evaluate {params.kind} --generated {input.generated} --reference {input.reference}"
        " --manifest {input.manifest} --participants {input.participants} {params.weights}"
        " --parameters {params.parameters:q} --out {output.measurement} > {log} 2>&1"
