"""Train a model's last stage: frames that look right, and not only near the truth on average.

    python -m scripts.tiny.sharpen                     # scripts/tiny/sharpen.yaml
    python -m scripts.tiny.sharpen RECIPE.yaml --export FOLDER

The denoiser is called as it samples, once at one noise level, and its latents are decoded; the loss
is in pixels: absolute error, error of slopes at three scales, and what a patch discriminator says
that sees the skeleton beside the picture (hinge loss, with the distance of its features, as in
pix2pixHD). UNet and decoder learn, the discriminator is thrown away. Interrupted at any moment, the
same command continues from the last checkpoint with the numbers it would have had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn

from animate.errors import TrainingError
from animate.generate.pipeline import Engine
from animate.models.components import save_model
from animate.progress import Progress
from animate.training import objective
from animate.training.loop import LoopOptions, make_accelerator
from animate.training.samples import pixels
from scripts.bundled.command import Making, parser_of, run
from scripts.bundled.loop import ControlledLoop
from scripts.bundled.recipe import read_recipe
from scripts.tiny import evaluation
from scripts.tiny.critic import PatchCritic, pull_of, slope_error
from scripts.tiny.data import Batch, Clips, ClipSet, PoseNoise, render_set, sample_batch
from scripts.tiny.recipe import SharpeningConfig
from scripts.tiny.start import Start, model_start

RECIPE = Path(__file__).with_name("sharpen.yaml")


class Sharpener(ControlledLoop):
    """The stage: UNet and decoder against the discriminator, in one process."""

    def __init__(self, config: SharpeningConfig, start: Start) -> None:
        self.config, self.start = config, start
        accelerator = make_accelerator(config.folder)
        if accelerator.num_processes > 1:
            raise TrainingError(
                "sharpening runs in one process; start it without accelerate launch"
            )
        self.group = start.variant.defaults.decode_chunk or config.frames
        """Frames that are decoded together."""
        if config.frames % self.group:
            raise TrainingError(
                f"frames {config.frames} is not a multiple of {self.group}, the frames that the "
                "model decodes together"
            )
        networks = nn.ModuleDict({**dict(start.networks), "vae": start.vae})
        networks.requires_grad_(False)
        self.encoder = start.encoder.to(accelerator.device)
        networks["unet"].requires_grad_(True).train()
        start.vae.decoder.requires_grad_(True)
        self.noise = PoseNoise(**vars(config.pose_noise))
        self._sets: list[Clips] = []
        torch.manual_seed(config.seed)
        self.critic = PatchCritic(config.critic_width).to(accelerator.device)
        self.critic_optimiser = torch.optim.Adam(
            self.critic.parameters(), config.critic_rate, betas=(0.5, 0.9)
        )
        trained = {
            name: parameter
            for name, parameter in networks.named_parameters()
            if parameter.requires_grad
        }
        super().__init__(
            LoopOptions(
                folder=config.folder,
                digest=config.digest(start.digests),
                seed=config.seed,
                steps=config.steps,
                ema=config.ema,
                weight_decay=0.0,
                checkpoint_every=config.checkpoint_every,
                validate_every=config.validate_every,
            ),
            accelerator,
            networks,
            start.variant.injection,
            trained,
            fast=("unet", "vae"),
        )

    def rate(self) -> float:
        """Learning rate: warm-up, then a cosine to a twentieth."""
        config = self.config
        fall = 0.5 * (1 + math.cos(math.pi * self.step / config.steps))
        return config.rate * (0.05 + 0.95 * fall) * self._warmth()

    def _warmth(self) -> float:
        return min((self.step + 1) / max(self.config.warm_up, 1), 1)

    def batch(self, rng: Generator, part: int) -> Batch:
        """See `Loop`."""
        config = self.config
        if not self._sets:
            cache = config.folder.parent / "clips"
            recipes = [ClipSet(size=part.size, clips=part.clips) for part in config.sets]  # type: ignore[arg-type]
            for recipe in recipes:
                render_set(cache, recipe)
            self._sets = [Clips(cache, recipe) for recipe in recipes]
        warped = self.start.variant.image_latents == "warped"
        return sample_batch(
            self._sets, clips=config.batch, frames=config.frames,
            style=self.start.variant.pose_style, noise=self.noise, rng=rng,
            unwarped=config.unwarped if warped else None,
        )  # fmt: skip

    def losses(self, batch: Batch, rng: Generator) -> Tensor:
        """Losses (B,) of UNet and decoder, after one step of the discriminator."""
        device = self.accelerator.device
        truth = pixels(batch.frames).to(device)
        control = ((pixels(batch.control) + 1) / 2).to(device)
        generated, latent_losses = self.generate(batch, control, rng)
        clips, count = truth.shape[:2]
        near = objective.drawn_near(control, (truth.shape[-2] // 4, truth.shape[-1] // 4)).float()
        near = F.interpolate(near.flatten(0, 1), scale_factor=4)
        weights = 1 + (self.config.near_weight - 1) * near
        weights = weights / weights.mean()
        flat, true = generated.flatten(0, 1), truth.flatten(0, 1)
        skeletons = control.flatten(0, 1)
        self._teach_critic(flat.detach(), true, skeletons)
        difference = flat - true
        config = self.config
        errors = (difference.abs() * weights).mean((1, 2, 3))
        errors = errors + config.slopes * slope_error(difference, weights)
        judged, features = self.critic(flat, skeletons)
        with torch.no_grad():
            _, true_features = self.critic(true, skeletons)
        distance = torch.stack(
            [
                (seen - real).abs().mean((1, 2, 3))
                for seen, real in zip(features, true_features, strict=True)
            ]
        ).mean(0)
        pull = pull_of(errors, flat)
        terms = errors
        for share, part in (
            (config.adversarial, -judged.mean((1, 2, 3))),
            (config.features, distance),
        ):
            terms = terms + self._warmth() * share * pull / (pull_of(part, flat) + 1e-8) * part
        return terms.unflatten(0, (clips, count)).mean(1) + config.latents * latent_losses

    def generate(
        self, batch: Batch, control_BF3HW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensor]:
        """Frames (B,F,3,H,W) as the model samples them, and the denoiser's own losses (B,)."""
        config, variant, device = self.config, self.start.variant, self.accelerator.device
        recipe = objective.ObjectiveRecipe(sigma_mean=math.log(config.sigma), sigma_deviation=0)
        reference = pixels(batch.reference).to(device)
        with torch.no_grad():
            frames = pixels(batch.frames).to(device)
            clean = self.encoder.encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
            draws = objective.draw(recipe, tuple(clean.shape), tuple(reference.shape), rng)
            draws = draws.to(device)
            pictures = reference[:, None]
            if batch.warped is not None:
                pictures = pixels(batch.warped).to(device)
            noisy_pictures = pictures + recipe.reference_noise * draws.reference_noise[:, None]
            image_latents = self.encoder.encode(noisy_pictures.flatten(0, 1))
            image_latents = image_latents.unflatten(0, noisy_pictures.shape[:2])
        constants = objective.precondition(draws.sigma)
        # Sampling begins with noise alone.
        noisy = draws.sigma.view(-1, 1, 1, 1, 1) * draws.noise
        with torch.autocast(device.type, torch.bfloat16):
            prediction = objective.predict(
                self.networks,
                self.port,
                scaled_BFCHW=constants.input * noisy,
                timestep_B=constants.timestep,
                reference_B3HW=reference,
                image_latents_BFCHW=image_latents,
                control_BF3HW=control_BF3HW,
                keep_B=torch.ones_like(draws.keep),
                micro=(recipe.fps, recipe.motion_bucket, recipe.reference_noise),
                feature_mean=variant.feature_mean,
                feature_std=variant.feature_std,
            )
            latents = constants.denoised(noisy, prediction.float())
            losses = (latents - clean).square().mean((1, 2, 3, 4))
            vae = self.start.vae
            scaled = latents.flatten(0, 1) / vae.config.scaling_factor
            decoded = vae.decode(scaled, num_frames=self.group).sample
        return decoded.float().unflatten(0, clean.shape[:2]), losses

    def _teach_critic(self, generated: Tensor, true: Tensor, control: Tensor) -> None:
        """One step of the hinge loss."""
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss = (
            F.relu(1 - self.critic(true, control)[0]).mean()
            + F.relu(1 + self.critic(generated, control)[0]).mean()
        )
        loss.backward()
        self.critic_optimiser.step()

    def trained(self) -> dict[str, object]:
        """Parameters of UNet and decoder, the discriminator and its optimiser."""
        return {
            "parameters": super().trained(),
            "critic": self.critic.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
        }

    def take_up(self, state: Mapping[str, Any]) -> None:
        """See `Loop`."""
        super().take_up(state["parameters"])
        self.critic.load_state_dict(state["critic"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])

    def validate(self, progress: Progress) -> None:
        """See `Loop`: held-out characters in the variant's own windows."""
        variant = self.start.variant
        takes = evaluation.held_out(self.config.validate_clips, 8, variant.sizes)
        with self.averaged():
            engine = Engine(components=self.start.components(), device=self.accelerator.device)
            clips = [evaluation.animate_take(engine, take) for take in takes]
        numbers = evaluation.figures(clips, takes).as_row()
        self.log.values(self.step, numbers)
        words = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        progress.note(f"held out {self.step}: {words}")

    def export(self, folder: Path, *, overwrite: bool) -> None:
        """Write the averaged networks as a model folder (float16)."""
        with self.averaged():
            save_model(folder, self.start.variant, dict(self.networks.items()), overwrite=overwrite)


def open_sharpener(config: SharpeningConfig) -> Sharpener:
    """The stage, taken up from its checkpoint if there is one."""
    torch.set_num_threads(config.threads)
    config.folder.mkdir(parents=True, exist_ok=True)
    return Sharpener(config, model_start(config.start_from))


def main(arguments: Sequence[str] | None = None) -> int:
    """Sharpen and export; returns the exit code."""
    parser = parser_of(__doc__, RECIPE)
    parser.add_argument("--start-from", help="model to start from, not the recipe's")
    return run(parser, _making, arguments, changing=("folder", "start_from"))


def _making() -> Making[SharpeningConfig]:
    return Making(
        read=partial(read_recipe, SharpeningConfig),
        train=lambda config, progress: open_sharpener(config).run(progress),
        export=lambda config, folder, *, overwrite: open_sharpener(config).export(
            folder, overwrite=overwrite
        ),
        use="cnx run",
    )


if __name__ == "__main__":
    raise SystemExit(main())
