"""config: the small files of a model, checked against the recipe before anything heavy is done."""

from dataclasses import asdict

from sdbuild.jobs.config import Config
from sdbuild.recipe.family import every_family
from sdbuild.sources import SourceError, open_source
from sdbuild.sources.survey import Family, Wanted, survey
from sdbuild.stages import Place


def run(job: Config, place: Place) -> None:
    """Write what `survey` finds: configurations in canonical form, tokenizers, and which weight files to fetch."""
    family = Family(
        job.pipeline,
        job.vae_factor,
        job.vae_scale,
        job.latent_channels,
        job.tokenizers,
        job.scheduler,
        job.tokens,
        job.encoders,
        job.image_sizes,
        job.latent_statistics,
    )
    source, vae = open_source(asdict(job.source)), open_source(asdict(job.vae)) if job.vae is not None else None
    wanted = {
        name: Wanted(each.folder, each.model_class, each.role, each.source) for name, each in job.components.items()
    }
    try:
        texts = survey(
            source,
            vae,
            wanted,
            family,
            {name: each.recognition for name, each in every_family().items()},
            job.allow_pickle,
            lambda done, total: place.progress(done, total, "files"),
            place.warn,
            job.precision,
            job.variant,
        )
    except SourceError as error:
        raise SourceError(f"{error}{source.caveat or (vae.caveat if vae else '')}") from None
    if job.embeddings:
        from sdbuild.stages.learning import learn_embeddings  # NumPy, for the few recipes that have embeddings

        texts |= learn_embeddings(job, place, texts)
    for path, text in texts.items():
        target = place.output / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="")
