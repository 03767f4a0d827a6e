"""config: the small files of a model, checked against the recipe before anything heavy is done."""

from sdbuild.sources import SourceError, open_source
from sdbuild.sources.survey import Family, Wanted, survey
from sdbuild.stages import Job


def run(job: Job) -> None:
    """Write what `survey` finds: configurations in canonical form, tokenizers, and which weight files to fetch.

    Parameters: ``source`` and ``vae``, for `open_source`, the latter null when the recipe names no other VAE;
    ``allow_pickle``; ``variant`` of the weights, or null; ``components``, by name, each with ``folder``, ``model_class`` and
    ``weights`` ("source" or "vae"); of the family ``pipeline`` (its name), ``encoders`` (folder → class of its text encoders),
    ``tokenizers`` and ``scheduler`` (folders), ``vae_factor``, ``vae_scale``, ``latent_channels`` and ``tokens``;
    ``precision``, what is built of a VAE, where that is to be judged by its configuration.
    No inputs.
    """
    given = job.parameters
    family = Family(
        given["pipeline"],
        given["vae_factor"],
        given["vae_scale"],
        given["latent_channels"],
        tuple(given["tokenizers"]),
        given["scheduler"],
        given["tokens"],
        given["encoders"],
    )
    source, vae = open_source(given["source"]), open_source(given["vae"]) if given["vae"] else None
    try:
        texts = survey(
            source,
            vae,
            dict.fromkeys(Wanted(**component) for component in given["components"].values()),  # some share a folder
            family,
            given["allow_pickle"],
            lambda done, total: job.progress(done, total, "files"),
            job.warn,
            given["precision"],
            given["variant"],
        )
    except SourceError as error:
        raise SourceError(f"{error}{source.caveat or (vae.caveat if vae else '')}") from None
    for path, text in texts.items():
        target = job.output / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="")
