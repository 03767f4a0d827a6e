"""config: the small files of a model, checked against the recipe before anything heavy is done."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from sdbuild.families import Families
from sdbuild.jobs.config import Config
from sdbuild.recipe.family import every_family
from sdbuild.sources import Source, SourceError, open_source
from sdbuild.sources.file import FileSource
from sdbuild.sources.single import Tensors
from sdbuild.sources.survey import Family, Wanted, survey
from sdbuild.sources.unfolded import Unfolded, Unfolding
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
        job.guidance_embedding,
    )
    opened = {"source": job.source, **job.others}
    sources: dict[str, Source] = {name: open_source(asdict(facts)) for name, facts in opened.items()}
    families = {name: each.recognition for name, each in every_family().items()}
    wanted = {
        name: Wanted(each.folder, each.model_class, each.role, each.source) for name, each in job.components.items()
    }
    try:
        unfolded = {
            name: _unfolded(name, source, job, families, place.warn) if source.single is not None else source
            for name, source in sources.items()
        }
        texts = survey(
            unfolded.pop("source"),
            unfolded,
            wanted,
            family,
            families,
            job.allow_pickle,
            lambda done, total: place.progress(done, total, "files"),
            place.warn,
            job.precision,
            job.variant,
            job.scheduler_changes,
        )
    except SourceError as error:
        caveats = (source.caveat for source in sources.values())
        raise SourceError(f"{error}{next(filter(None, caveats), '')}") from None
    if job.embeddings:
        from sdbuild.stages.learning import learn_embeddings  # NumPy, for the few recipes that have embeddings

        texts |= learn_embeddings(job, place, texts)
    for path, text in texts.items():
        target = place.output / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="")


def _unfolded(purpose: str, file: Source, job: Config, families: Families, warn: Callable[[str], None]) -> Unfolded:
    """A single file as a diffusers folder; what the recipe says of its training is about the model's own file alone."""
    said = job.single_file
    assert said is not None, "the plan says what is known of single files where there are some"
    own = purpose == "source"
    unfolding = Unfolding(
        family=job.pipeline,
        vae_scale=job.vae_scale,
        tokenizers=job.tokenizers,
        pipeline_class=said.pipeline_class,
        scheduler_folder=job.scheduler,
        scheduler=said.scheduler,
        usual_prediction=said.usual_prediction,
        prediction_type=said.prediction_type if own else None,
        zero_terminal_snr=said.zero_terminal_snr if own else None,
        ema=said.ema if own else None,
        allow_pickle=job.allow_pickle,
        read_pickle=tensors_of,
    )
    configs = open_source(asdict(said.config)) if said.config is not None and own else None
    return Unfolded(file, purpose, unfolding, families, warn, configs)


def tensors_of(where: str, file: Source) -> Tensors:
    """Of a pickle on this machine, or of one whose beginning can be read; ``where`` is for messages."""
    from sdbuild.modeling.pickles import shapes_in, tensors_in  # torch, which nothing else here needs

    if isinstance(file, FileSource):
        return {name: (dtype, shape) for name, (dtype, shape, _) in tensors_in(file.place).items()}
    return shapes_in(where, partial(file.read_start, str(file.single)))
