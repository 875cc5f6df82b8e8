"""Check the three published designs of ControlNeXt for stills, and IP-Adapter, against vectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from animate.models.components import build_control_network
from animate.models.injection import ControlPort
from animate.models.stills import load_still_design
from animate.stills.control import controlled
from scripts.parity.checks import NETWORK_TOLERANCE, PIPELINE_TOLERANCE, Check, compare, skipped
from scripts.parity.recipe import array, fill, scaled

DESIGNS = {
    "sd15": "controlnext-sd15",
    "sd15t": "controlnext-sd15-trained",
    "sdxl": "controlnext-sdxl",
}
"""Names of the designs here by `settings["model"]`."""
INPUTS = {
    "controlnext.input", "controlnext.timestep", "unet.sample", "unet.context", "unet.timestep",
    "unet.control_image", "unet.large_control_image", "unet.text_embeds", "unet.time_ids",
    "text.input_ids", "pipeline.control_image", "pipeline.initial_noise", "pipeline.prompt_embeds",
    "pipeline.negative_prompt_embeds", "pipeline.pooled_prompt_embeds",
    "pipeline.negative_pooled_prompt_embeds",
}  # fmt: skip


@torch.no_grad()
def check_stills(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> list[Check]:
    """Every tensor of a vectors file of stills, checked or with the reason why it was not."""
    networks = _Networks(settings)
    checks: list[Check] = []
    groups: tuple[tuple[str, Callable[..., dict[str, Tensor]], float], ...] = (
        ("controlnext.", _control_network, NETWORK_TOLERANCE),
        ("unet.", _unet, NETWORK_TOLERANCE),
        ("text.", _text, NETWORK_TOLERANCE),
        ("pipeline.", _pipeline, PIPELINE_TOLERANCE),
    )
    for prefix, compute, tolerance in groups:
        names = [name for name in tensors if name.startswith(prefix) and name not in INPUTS]
        computed = compute(tensors, networks) if names else {}
        for name in names:
            if name in computed:
                exact = name in ("pipeline.timesteps", "pipeline.sigmas")
                limit = NETWORK_TOLERANCE if exact else tolerance
                checks.append(compare(name, computed[name], tensors[name], limit))
            else:
                checks.append(skipped(name, "no meaning known"))
    return checks


@dataclass(frozen=True)
class _Networks:
    """The settings' networks, built and filled when first used."""

    settings: Mapping[str, Any]

    @cached_property
    def design(self) -> Any:
        """The design, with the scale that the settings run it at."""
        design = load_still_design(DESIGNS[self.settings["model"]])
        scale = self.settings.get("controlnet_scale")
        if scale is None:
            return design
        return replace(design, injection=replace(design.injection, weight=float(scale)))

    @cached_property
    def control(self) -> Any:
        network = build_control_network(self.design.controlnext)
        return fill(network, self._salt + "controlnext").eval()

    def unet(self, *, increments: bool = False, lora: bool = False) -> Any:
        from diffusers import UNet2DConditionModel

        unet = fill(UNet2DConditionModel.from_config(self.settings["unet"]), self._salt + "unet")
        if increments:
            trained = UNet2DConditionModel.from_config(self.settings["unet"])
            self._increment(unet, fill(trained, self.settings["increments"]["salt"]))
        if lora:
            self._adapt(unet)
        return unet.eval()

    def _increment(self, unet: Any, trained: Any) -> None:
        pattern = re.compile(self.settings["increments"]["names"])
        factor = self.settings["increments"]["factor"]
        values = trained.state_dict()
        for name, tensor in unet.state_dict().items():
            if pattern.search(name):
                tensor += factor * values[name]

    def _adapt(self, unet: Any) -> None:
        """Load the LoRA by diffusers' own loader, under the names that it knows."""
        salt, rank = self.settings["lora"]["salt"], self.settings["lora"]["rank"]
        weights = {}
        for name, module in unet.named_modules():
            if re.search(r"attn[12]\.(to_q|to_k|to_v|to_out\.0)$", name):
                out, wide = module.weight.shape
                down = array((rank, wide), f"{name}.lora_A.weight", salt)
                up = array((out, rank), f"{name}.lora_B.weight", salt)
                weights[f"unet.{name}.lora_A.weight"] = torch.from_numpy(down / wide**0.5).float()
                weights[f"unet.{name}.lora_B.weight"] = torch.from_numpy(0.5 * up)
        unet.load_lora_adapter(weights, prefix="unet")

    @cached_property
    def vae(self) -> Any:
        from diffusers import AutoencoderKL

        return fill(AutoencoderKL.from_config(self.settings["vae"]), self._salt + "vae").eval()

    @cached_property
    def text(self) -> Any:
        from transformers import CLIPTextConfig, CLIPTextModel

        text = CLIPTextModel(CLIPTextConfig(**self.settings["text"]))
        for name, tensor in text.state_dict().items():
            # The published names have this prefix, which newer versions of the library dropped.
            published = name if name.startswith("text_model.") else f"text_model.{name}"
            if tensor.is_floating_point():
                values = array(tensor.shape, published, self._salt + "text")
                tensor.copy_(torch.from_numpy(scaled(values, published)))
        return text.eval()

    @property
    def _salt(self) -> str:
        return str(self.settings.get("salt", ""))


def _control_network(tensors: Mapping[str, Tensor], networks: _Networks) -> dict[str, Tensor]:
    frames = tensors["controlnext.input"][:, None]
    result = {"controlnext.output": networks.control(frames, tensors["controlnext.timestep"])}
    if networks.design.controlnext.learned_scale:
        result["controlnext.scale"] = networks.control.scale.reshape(1)
    return result


def _unet(tensors: Mapping[str, Tensor], networks: _Networks) -> dict[str, Tensor]:
    vectors = {n.removeprefix("unet."): t for n, t in tensors.items() if n.startswith("unet.")}
    added = {name: vectors[name] for name in ("text_embeds", "time_ids") if name in vectors}

    def call(unet: Any, picture: Tensor | None, scale: float | None = None) -> Tensor:
        control = nullcontext() if picture is None else _both(unet, networks, picture, scale)
        with control:
            output: Tensor = unet(
                vectors["sample"],
                vectors["timestep"],
                vectors["context"],
                added_cond_kwargs=added or None,
                return_dict=False,
            )[0]
        return output

    picture = vectors["control_image"]
    calls: dict[str, Callable[[], Tensor]] = {
        "output": lambda: call(plain, picture),
        "output_no_control": lambda: call(plain, None),
        "output_control_scale_0.4": lambda: call(plain, picture, 0.4),
        "output_large_control": lambda: call(plain, vectors["large_control_image"].float() / 255),
        "output_weight_increments": lambda: call(networks.unet(increments=True), picture),
        "output_lora": lambda: call(networks.unet(lora=True), picture),
    }
    plain = networks.unet()
    return {f"unet.{name}": run() for name, run in calls.items() if name in vectors}


@contextmanager
def _both(
    unet: Any, networks: _Networks, pictures_B3HW: Tensor, scale: float | None
) -> Iterator[ControlPort]:
    """Control by a picture of its own for each row of the batch."""
    injection = networks.design.injection
    if scale is not None:  # the published code sets the learned scale itself to this
        injection = replace(injection, weight=scale, gate="none")
    with controlled(unet, networks.control, injection, pictures_B3HW) as port:
        yield port


def _text(tensors: Mapping[str, Tensor], networks: _Networks) -> dict[str, Tensor]:
    output = networks.text(tensors["text.input_ids"]).last_hidden_state
    return {"text.output": output}


def _pipeline(tensors: Mapping[str, Tensor], networks: _Networks) -> dict[str, Tensor]:
    settings = networks.settings
    vectors = {
        n.removeprefix("pipeline."): t for n, t in tensors.items() if n.startswith("pipeline.")
    }
    unet = networks.unet()
    pipe = networks.design.assemble(
        unet=unet, vae=networks.vae, scheduler=networks.design.make_scheduler(_base(settings))
    )
    pipe.set_progress_bar_config(disable=True)
    picture = vectors["control_image"].permute(2, 0, 1)[None].float() / 255
    steps: list[Tensor] = []

    def on_step(
        pipe: Any, step: int, timestep: Any, values: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        steps.append(values["latents"].clone())
        return values

    prompts = {name: vectors[name] for name in vectors if name.endswith("prompt_embeds")}
    with controlled(unet, networks.control, networks.design.injection, picture):
        image = pipe(
            **prompts,
            latents=vectors["initial_noise"],
            height=settings["height"],
            width=settings["width"],
            num_inference_steps=settings["num_inference_steps"],
            guidance_scale=settings["guidance"],
            callback_on_step_end=on_step,
            output_type="pt",
        ).images
    return {
        "pipeline.timesteps": pipe.scheduler.timesteps,
        "pipeline.sigmas": pipe.scheduler.sigmas,
        "pipeline.latents_steps": torch.cat(steps),
        "pipeline.latents": steps[-1],
        "pipeline.image": image,
    }


def _base(settings: Mapping[str, Any]) -> Any:
    """The base model's own scheduler, whose settings the published one takes over."""
    import diffusers

    kind = getattr(diffusers, settings["base_scheduler"])
    return kind.from_config(settings["base_scheduler_config"])


@torch.no_grad()
def check_ip_adapter(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> list[Check]:
    """Every tensor of an IP-Adapter vectors file: diffusers' own loader, called as it stands."""
    checks = []
    vectors = {n.removeprefix("unet."): t for n, t in tensors.items() if n.startswith("unet.")}
    for kind in ("base", "plus"):
        if f"{kind}.image_embeds" not in tensors:
            continue
        unet = _with_adapter(settings, kind)
        embeds = tensors[f"{kind}.image_embeds"]
        computed = {"tokens": unet.encoder_hid_proj([embeds])[0]}
        for name in tensors:
            match = re.fullmatch(rf"{kind}\.output_scale_([\d.]+)", name)
            if match:
                for processor in unet.attn_processors.values():
                    if hasattr(processor, "scale"):
                        processor.scale = [float(match[1])]
                computed[name.removeprefix(f"{kind}.")] = unet(
                    vectors["sample"],
                    vectors["timestep"],
                    vectors["context"],
                    added_cond_kwargs={"image_embeds": [embeds]},
                    return_dict=False,
                )[0]
        checks += [
            compare(f"{kind}.{name}", value, tensors[f"{kind}.{name}"], NETWORK_TOLERANCE)
            for name, value in computed.items()
            if f"{kind}.{name}" in tensors
        ]
    if "output_no_adapter" in vectors:
        plain = _sd15_unet(settings)(
            vectors["sample"], vectors["timestep"], vectors["context"], return_dict=False
        )[0]
        checks.append(
            compare(
                "unet.output_no_adapter", plain, vectors["output_no_adapter"], NETWORK_TOLERANCE
            )
        )
    inputs = {"unet.sample", "unet.context", "unet.timestep", "base.image_embeds"}
    inputs |= {"plus.image_embeds", *(check.name for check in checks)}
    return checks + [skipped(n, "no meaning known") for n in sorted(set(tensors) - inputs)]


def _sd15_unet(settings: Mapping[str, Any]) -> Any:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_config(settings["unet"])
    return fill(unet, f"{settings['salt']}unet").eval()


def _with_adapter(settings: Mapping[str, Any], kind: str) -> Any:
    """The UNet with an adapter whose weights follow from their names."""
    salt = settings["salt"]

    def tensors(shapes: Mapping[str, Any], group: str) -> dict[str, Tensor]:
        return {
            name: torch.from_numpy(scaled(array(shape, name, salt + group), name))
            for name, shape in shapes.items()
        }

    unet = _sd15_unet(settings)
    state = {
        "image_proj": tensors(settings[f"image_proj_{kind}_shapes"], f"image_proj_{kind}"),
        "ip_adapter": tensors(settings["ip_adapter_shapes"], "ip_adapter"),
    }
    unet._load_ip_adapter_weights([state])
    return unet.eval()
