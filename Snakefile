# The whole book as one workflow: networks, then chapters, then pages.
#
#     intriguing build --profile smoke          what `make book` calls; or, by hand:
#     snakemake --cores 2 --config profile=smoke
#
# Outputs carry what they were made from in their names: a network its key, a chapter's receipt the
# fingerprint of its code, parameters, library modules and networks (intriguing.book.build.workflow).
# So times of files decide nothing but when the pages are rendered again, and a network that a
# notebook trained on its own counts as there.  Every job asks first whether its work is done.
# What goes into a shell is quoted (`:q`): names come from files that people add.

from intriguing.book.build import workflow as book

plan = book.plan(config.get("profile", "smoke"))
threads = int(config.get("threads", 1))  # of a job
gpu = int(config.get("gpu", 0))  # that a job asks the cluster for

if "jobs" in config:  # a file to write them to, whatever is printed
    logger.addHandler(book.Jobs(config["jobs"]))


workdir: str(plan.folder)


held = []


onstart:
    held.append(book.claim(plan))


wildcard_constraints:
    key="[0-9a-f]{64}",
    fingerprint="[0-9a-f]{16}",


localrules:
    all,
    chapters,
    pages,
    zoo,


rule all:
    input:
        book.RENDERED,
        plan.receipts,  # else a lost one would be taken for a file in between that nobody misses


rule train:
    output:
        update(plan.network("{key}")),
    input:
        ancient(lambda wildcards: plan.bases(wildcards.key)),
    params:
        chapter=lambda wildcards: plan.chapter_of(wildcards.key),
    threads: threads
    resources:
        gpu=gpu,
    log:
        "logs/train-{key}.log",
    shell:
        "python -m intriguing zoo train --chapter {params.chapter:q} --profile {plan.profile:q}"
        " --key {wildcards.key:q} > {log:q} 2>&1"


rule chapter:
    output:
        "receipts/{chapter}.{fingerprint}",
    input:
        ancient(lambda wildcards: plan.sources(wildcards.chapter)),
        networks=ancient(lambda wildcards: plan.networks(wildcards.chapter)),
    threads: threads
    resources:
        gpu=gpu,
    log:
        "logs/{chapter}.{fingerprint}.log",
    shell:
        "python -m intriguing run {wildcards.chapter:q} --profile {plan.profile:q} --if-needed"
        " > {log:q} 2>&1"


rule pages:
    output:
        book.RENDERED,  # the command writes it last: a rendering that failed is not done
    input:
        plan.receipts,
        plan.prose,
    log:
        "logs/pages.log",
    shell:
        "python -m intriguing build --profile {plan.profile:q} --pages-only > {log:q} 2>&1"


rule chapters:
    input:
        plan.receipts,


rule zoo:
    input:
        plan.all_networks,
