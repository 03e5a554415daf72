# Stores to tissues, stores and tissues to measurements.


rule segment_run:
    """Tissues of the volumes that a run sampled or reconstructed."""
    input:
        index=paths.segmented,
        atlas=plan.deep_gray_atlas,
    output:
        table=paths.run_tissues,
    log:
        paths.log(
            "segment_run", "{study}-{model}-{cohort}-{population}-{seed}-{segmented}"
        ),
    benchmark:
        paths.benchmark(
            "segment_run", "{study}-{model}-{cohort}-{population}-{seed}-{segmented}"
        )
    conda:
        "../envs/data.yaml"
    threads: plan.config.preprocessing.workers
    resources:
        mem_mb=lambda w, attempt, threads: 3000 * threads * attempt,
        runtime=lambda w, attempt: 1440 * attempt,
    params:
        atlas=lambda w, input: (
            ["--deep-gray-atlas", input.atlas] if input.atlas else []
        ),
        parameters=plan.json("segment"),
        code=plan.code("segment"),
    shell:
        "genmorph segment --index {input.index} {params.atlas:q} --workers {threads}"
        " --parameters {params.parameters:q} --out {output.table} > {log} 2>&1"


rule segment_real:
    """Tissues of the real scans of one split."""
    input:
        index=paths.index,
        manifest=paths.manifest,
        participants=paths.participants,
        atlas=plan.deep_gray_atlas,
    output:
        table=paths.real_tissues,
    log:
        paths.log("segment_real", "{cohort}-{recipe}-{split}"),
    benchmark:
        paths.benchmark("segment_real", "{cohort}-{recipe}-{split}")
    conda:
        "../envs/data.yaml"
    threads: plan.config.preprocessing.workers
    resources:
        mem_mb=lambda w, attempt, threads: 3000 * threads * attempt,
        runtime=lambda w, attempt: 1440 * attempt,
    params:
        atlas=lambda w, input: (
            ["--deep-gray-atlas", input.atlas] if input.atlas else []
        ),
        parameters=lambda w: plan.json("segment", w.split),
        code=plan.code("segment"),
    shell:
        "genmorph segment --index {input.index} --manifest {input.manifest}"
        " --participants {input.participants} {params.atlas:q} --workers {threads}"
        " --parameters {params.parameters:q} --out {output.table} > {log} 2>&1"


rule measure_run:
    """Measure a run's samples or reconstructions against the held-out scans."""
    input:
        generated=lambda w: plan.measured(w.study, w.model, w.seed, w.measure),
        reference=lambda w: plan.measured_against(w.study, w.model, w.measure),
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
    wildcard_constraints:
        measure=plan.measure_names(),
    conda:
        "../envs/models.yaml"
    threads: plan.config.compute.threads
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        runtime=lambda w, attempt: 240 * attempt,
    params:
        kind=lambda w: plan.measure_kind(w.study, w.measure),
        weights=lambda w, input: (
            ["--feature-weights", input.weights] if input.weights else []
        ),
        parameters=lambda w: plan.json("evaluate", w.study, w.measure),
        code=lambda w: plan.code(f"evaluate.{plan.measure_kind(w.study, w.measure)}"),
    shell:
        "genmorph evaluate {params.kind} --generated {input.generated} --reference {input.reference}"
        " --manifest {input.manifest} --participants {input.participants} {params.weights:q}"
        " --parameters {params.parameters:q} --out {output.measurement} > {log} 2>&1"


rule map_run:
    """Compare a run's gray matter with that of real scans voxel by voxel: a t-map."""
    input:
        generated=lambda w: plan.measured(w.study, w.model, w.seed, w.measure),
        reference=lambda w: plan.measured_against(w.study, w.model, w.measure),
        manifest=lambda w: plan.cohort_file("manifest", w.study),
        participants=lambda w: plan.cohort_file("participants", w.study),
    output:
        measurement=paths.measurement,
        t_map=paths.t_map,
        figure=paths.t_map_figure,
    log:
        paths.log("map_run", "{study}-{model}-{cohort}-{population}-{seed}-{measure}"),
    benchmark:
        paths.benchmark(
            "map_run", "{study}-{model}-{cohort}-{population}-{seed}-{measure}"
        )
    wildcard_constraints:
        measure=plan.measure_names("vbm"),
    conda:
        "../envs/models.yaml"
    threads: plan.config.compute.threads
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        runtime=lambda w, attempt: 240 * attempt,
    params:
        parameters=lambda w: plan.json("evaluate", w.study, w.measure),
        code=plan.code("evaluate.vbm"),
    shell:
        "genmorph evaluate vbm --generated {input.generated} --reference {input.reference}"
        " --manifest {input.manifest} --participants {input.participants}"
        " --t-map {output.t_map} --figure {output.figure}"
        " --parameters {params.parameters:q} --out {output.measurement} > {log} 2>&1"


rule measure_memorisation:
    """Whether a run's samples are nearer to the people it was trained on than to others."""
    input:
        generated=lambda w: plan.measured(w.study, w.model, w.seed, w.measure),
        reference=lambda w: plan.measured_against(w.study, w.model, w.measure),
        manifest=lambda w: plan.cohort_file("manifest", w.study),
        participants=lambda w: plan.cohort_file("participants", w.study),
        weights=lambda w: plan.measure_weights(w.study, w.measure),
    output:
        measurement=paths.measurement,
        figure=paths.nearest_figure,
    log:
        paths.log(
            "measure_memorisation",
            "{study}-{model}-{cohort}-{population}-{seed}-{measure}",
        ),
    benchmark:
        paths.benchmark(
            "measure_memorisation",
            "{study}-{model}-{cohort}-{population}-{seed}-{measure}",
        )
    wildcard_constraints:
        measure=plan.measure_names("memorisation"),
    conda:
        "../envs/models.yaml"
    threads: plan.config.compute.threads
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        runtime=lambda w, attempt: 240 * attempt,
    params:
        weights=lambda w, input: (
            ["--feature-weights", input.weights] if input.weights else []
        ),
        parameters=lambda w: plan.json("evaluate", w.study, w.measure),
        code=plan.code("evaluate.memorisation"),
    shell:
        "genmorph evaluate memorisation --generated {input.generated}"
        " --reference {input.reference} --manifest {input.manifest}"
        " --participants {input.participants} {params.weights:q} --figure {output.figure}"
        " --parameters {params.parameters:q} --out {output.measurement} > {log} 2>&1"


rule measure_likelihood:
    """How likely a trained slice VAE finds held-out scans, and the scans it was fitted on."""
    input:
        weights=lambda w: plan.measured(w.study, w.model, w.seed, w.measure),
        reference=lambda w: plan.measured_against(w.study, w.model, w.measure),
        manifest=lambda w: plan.cohort_file("manifest", w.study),
        participants=lambda w: plan.cohort_file("participants", w.study),
    output:
        measurement=paths.measurement,
    log:
        paths.log(
            "measure_likelihood",
            "{study}-{model}-{cohort}-{population}-{seed}-{measure}",
        ),
    benchmark:
        paths.benchmark(
            "measure_likelihood",
            "{study}-{model}-{cohort}-{population}-{seed}-{measure}",
        )
    wildcard_constraints:
        measure=plan.measure_names("latent_likelihood"),
    conda:
        "../envs/models.yaml"
    threads: plan.config.compute.threads
    resources:
        **plan.gpu_resources(),
        mem_mb=lambda w, attempt: 8000 * attempt,
        runtime=lambda w, attempt: 600 * attempt,
    params:
        device=plan.config.compute.device,
        parameters=lambda w: plan.json("evaluate", w.study, w.measure),
        code=plan.code("evaluate.latent_likelihood"),
    shell:
        "genmorph evaluate latent_likelihood --generated {input.weights}"
        " --reference {input.reference} --manifest {input.manifest}"
        " --participants {input.participants} --device {params.device}"
        " --parameters {params.parameters:q} --out {output.measurement} > {log} 2>&1"


rule train_segmenter:
    """Train the networks of the realistic atlas score, cross-fitted by person."""
    input:
        index=paths.index,
        manifest=paths.manifest,
        labels=lambda w: plan.label_inputs(w.cohort, w.recipe),
    output:
        segmenters=paths.segmenters,
    log:
        paths.log("train_segmenter", "{cohort}-{recipe}"),
    benchmark:
        paths.benchmark("train_segmenter", "{cohort}-{recipe}")
    conda:
        "../envs/models.yaml"
    threads: plan.config.compute.training_threads
    resources:
        **plan.gpu_resources(),
        mem_mb=lambda w, attempt: 8000 * attempt,
        runtime=lambda w, attempt: 1440 * attempt,
    params:
        labels=lambda w: plan.label_arguments(w.cohort, w.recipe),
        device=plan.config.compute.device,
        parameters=lambda w: plan.json("segmenter", w.cohort, w.recipe),
        code=plan.code("segmenter"),
    shell:
        "genmorph segmenter --index {input.index} --manifest {input.manifest} {params.labels}"
        " --device {params.device} --parameters {params.parameters:q}"
        " --out {output.segmenters} > {log} 2>&1"


rule score_atlas:
    """Realistic atlas score of a run: labels of its samples carried to real people."""
    input:
        generated=lambda w: plan.measured(w.study, w.model, w.seed, w.measure),
        reference=lambda w: plan.measured_against(w.study, w.model, w.measure),
        manifest=lambda w: plan.cohort_file("manifest", w.study),
        participants=lambda w: plan.cohort_file("participants", w.study),
        segmenters=lambda w: plan.segmenters(w.study, w.model),
        labels=lambda w: plan.manual_label_inputs(w.study, w.model, w.measure),
    output:
        measurement=paths.measurement,
    log:
        paths.log(
            "score_atlas", "{study}-{model}-{cohort}-{population}-{seed}-{measure}"
        ),
    benchmark:
        paths.benchmark(
            "score_atlas", "{study}-{model}-{cohort}-{population}-{seed}-{measure}"
        )
    wildcard_constraints:
        measure=plan.measure_names("atlas_score"),
    conda:
        "../envs/models.yaml"
    threads: plan.config.compute.threads
    resources:
        mem_mb=lambda w, attempt: 8000 * attempt,
        runtime=lambda w, attempt: 600 * attempt,
    params:
        labels=lambda w: plan.manual_labels(w.study, w.model, w.measure),
        parameters=lambda w: plan.json("evaluate", w.study, w.measure),
        code=plan.code("evaluate.atlas_score"),
    shell:
        "genmorph evaluate atlas_score --generated {input.generated}"
        " --reference {input.reference} --manifest {input.manifest}"
        " --participants {input.participants} --segmenters {input.segmenters} {params.labels}"
        " --workers {threads} --parameters {params.parameters:q} --out {output.measurement}"
        " > {log} 2>&1"


rule run_controls:
    """Hold the measures to simulated people whose answer is known: one group of controls."""
    output:
        result=paths.control,
    log:
        paths.log("run_controls", "{group}"),
    benchmark:
        paths.benchmark("run_controls", "{group}")
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        runtime=lambda w, attempt: 60 * attempt,
    params:
        seed=lambda w: plan.parameters("controls", w.group)["seed"],
        code=lambda w: plan.code("controls", w.group),
    shell:
        "genmorph controls run {wildcards.group} --seed {params.seed} --workers {threads}"
        " --out {output.result} > {log} 2>&1"


rule make_controls:
    """Table and figure of all controls."""
    input:
        plan.controls,
    output:
        table=paths.controls_table,
        cells=paths.controls_table.replace(".csv", "_cells.csv"),
        markdown=paths.controls_table.replace(".csv", ".md"),
        figure=paths.controls_figure,
    log:
        paths.log("make_controls", "controls"),
    benchmark:
        paths.benchmark("make_controls", "controls")
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: 10 * attempt,
    params:
        code=plan.code("controls"),
    shell:
        "genmorph controls table {input} --out {output.table} --figure {output.figure}"
        " > {log} 2>&1"


rule check_controls:
    """Fail when a control failed; the table and the figure are there to look at."""
    input:
        table=paths.controls_table,
    output:
        passed=touch(paths.controls_passed),
    log:
        paths.log("check_controls", "controls"),
    benchmark:
        paths.benchmark("check_controls", "controls")
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: 10 * attempt,
    params:
        code=plan.code("controls"),
    shell:
        "genmorph controls check {input.table} > {log} 2>&1"
