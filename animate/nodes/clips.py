"""Nodes that load a model, animate a picture, and save the clip."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import comfy.model_management
import folder_paths
import numpy as np
from comfy.cli_args import args
from comfy_api.v0_0_2 import InputImpl, Types, io, ui

from animate.media import open_writer, takes_sound
from animate.media.audio import AudioSource
from animate.models.variants import VARIANT_FILE, variant_names
from animate.nodes.progress import EditorProgress
from animate.nodes.schema import (
    Pipeline,
    Poses,
    choice_input,
    node_schema,
    open_input,
    open_scale,
    rate_input,
    rate_output,
)
from animate.nodes.values import (
    frames_of,
    image_of,
    mask_of,
    metadata_of,
    one_of,
    rate_of,
    single_frame,
    write_wave,
)
from animate.pipeline.video import ControlNeXtVideoPipeline
from animate.request.request import Precision
from pose.kinds import RetargetMode

FOLDER = "cnx"
"""Folder of our models below ComfyUI's `models`."""
_PRECISIONS = ("auto", "float32", "float16", "bfloat16")
_CONTAINERS = ("mp4", "mkv", "webm", "mov")


def model_folders() -> dict[str, Path]:
    """Model folders in ComfyUI's own, by name."""
    roots = [Path(folder_paths.models_dir) / FOLDER]
    if FOLDER in folder_paths.folder_names_and_paths:
        roots += map(Path, folder_paths.get_folder_paths(FOLDER))
    files = (file for root in roots for file in root.glob(f"*/{VARIANT_FILE}"))
    return {file.parent.name: file.parent for file in files}


def _pipeline_output() -> Any:
    return Pipeline.Output(display_name="pipeline")


class LoadModel(io.ComfyNode):
    """A loaded model."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        names = ["auto", *variant_names(), *model_folders()]
        return node_schema(
            "LoadModel",
            "Load Model",
            [
                choice_input("model", [*dict.fromkeys(names)], "auto"),
                choice_input("precision", _PRECISIONS, "auto"),
                io.String.Input("memory", default="", tooltip="most to use, such as 8GiB"),
            ],
            [_pipeline_output()],
            f"A model by name, or a model folder in ComfyUI's models/{FOLDER}.",
        )

    @classmethod
    def execute(cls, model: str, precision: Precision, memory: str) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        pipe = ControlNeXtVideoPipeline.from_pretrained(
            model_folders().get(model, model),
            device=str(comfy.model_management.get_torch_device()),
            precision=precision,
        )
        pipe.limit_memory(memory.strip() or None)
        return io.NodeOutput(pipe)


class LoadLora(io.ComfyNode):
    """A model with an adapter."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return node_schema(
            "LoadLora",
            "Load LoRA",
            [
                Pipeline.Input("pipeline"),
                choice_input("lora", folder_paths.get_filename_list("loras")),
                io.Float.Input("weight", default=1.0, min=-10.0, max=10.0, step=0.05),
            ],
            [_pipeline_output()],
        )

    @classmethod
    def execute(cls, pipeline: Any, lora: str, weight: float) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        pipe = pipeline.share()
        pipe.load_lora_weights(folder_paths.get_full_path_or_raise("loras", lora), weight=weight)
        return io.NodeOutput(pipe)


class Animate(io.ComfyNode):
    """Frames of a picture's person in motion."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return node_schema(
            "Animate",
            "Animate",
            [
                Pipeline.Input("pipeline"),
                io.Image.Input("image"),
                Poses.Input("poses", optional=True),
                io.Image.Input("control_frames", optional=True),
                io.Audio.Input("audio", optional=True),
                io.Mask.Input(
                    "background", optional=True, tooltip="where the picture stays as it is"
                ),
                rate_input("control_rate", "frame rate of control_frames"),
                io.Int.Input("seed", default=0, min=0, max=2**63 - 1, control_after_generate=True),
                open_input("frames", "all", most=100_000),
                open_input("width", "the model's"),
                open_input("height", "the model's"),
                open_input("steps", "the model's", most=1000),
                open_scale("min_guidance"),
                open_scale("max_guidance"),
                open_input("window", "the model's", most=1024),
                io.Int.Input("overlap", default=-1, min=-1, max=1023, tooltip="-1: the model's"),
                choice_input("retarget", get_args(RetargetMode), "robust"),
                io.Boolean.Input("lock_background", default=False),
                io.Boolean.Input("anchor_colour", default=False),
            ],
            [
                io.Image.Output(display_name="images"),
                io.Video.Output(display_name="video"),
                rate_output(),
            ],
            "Animates the person of a picture by poses or control frames.",
        )

    @classmethod
    def execute(
        cls,
        pipeline: Any,
        image: Any,
        control_rate: float,
        seed: int,
        frames: int,
        width: int,
        height: int,
        steps: int,
        min_guidance: float,
        max_guidance: float,
        window: int,
        overlap: int,
        retarget: RetargetMode,
        lock_background: bool,
        anchor_colour: bool,
        poses: Any = None,
        control_frames: Any = None,
        audio: Any = None,
        background: Any = None,
    ) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        one_of(poses, control_frames, ("poses", "control_frames"))
        if control_frames is not None:
            control_frames = frames_of(control_frames, "control_frames")
        progress, pipe = EditorProgress(), pipeline.share()
        pipe.set_progress(progress)
        _make_room(pipe)
        try:
            out = pipe(
                single_frame(image, "image"),
                poses=poses,
                control_frames=control_frames,
                driving_fps=None if control_frames is None else rate_of(control_rate),
                num_frames=frames or None,
                width=width or None,
                height=height or None,
                num_inference_steps=steps or None,
                min_guidance_scale=min_guidance or None,
                max_guidance_scale=max_guidance or None,
                seed=seed,
                background_mask=mask_of(background),
                callback_on_step_end=progress.look,
                output_type="np",
                window=window or None,
                overlap=None if overlap < 0 else overlap,
                retarget=retarget,
                lock_background=lock_background,
                anchor_colour=anchor_colour,
            )
        finally:  # ComfyUI's own models may want the room
            pipe.free_memory()
        images = image_of(out.frames[0])
        parts = Types.VideoComponents(images=images, audio=audio, frame_rate=out.fps)
        return io.NodeOutput(images, InputImpl.VideoFromComponents(parts), float(out.fps))


def _make_room(pipe: ControlNeXtVideoPipeline) -> None:
    """Have ComfyUI take its own models off the GPU, as far as ours need the room."""
    if pipe.device.type != "cuda":
        return
    networks = pipe.animator.engine.components.networks()
    size = sum(p.numel() * p.element_size() for n in networks for p in n.parameters())
    comfy.model_management.free_memory(2 * size, pipe.device)
    comfy.model_management.soft_empty_cache()


class SaveClip(io.ComfyNode):
    """A video file of the exact rate."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return node_schema(
            "SaveClip",
            "Save Clip",
            [
                io.Video.Input("video"),
                io.String.Input("filename_prefix", default="video/cnx"),
                choice_input("format", _CONTAINERS),
                io.String.Input("codec", default="", tooltip="empty: the usual of the format"),
            ],
            [],
            "Writes a video with its exact frame rate and its sound.",
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, video: Any, filename_prefix: str, format: str, codec: str) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        parts = video.get_components()
        pictures = np.rint(frames_of(parts.images, "video") * 255).astype(np.uint8)
        height, width = pictures.shape[1:3]
        folder, stem, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
        path = Path(folder) / f"{stem}_{counter:05}_.{format}"
        keeps = not args.disable_metadata
        metadata = metadata_of(cls.hidden.prompt, cls.hidden.extra_pnginfo) if keeps else None
        rate = Fraction(parts.frame_rate)
        with tempfile.TemporaryDirectory() as scratch:
            sound = None
            if parts.audio is not None and takes_sound(path):
                file = write_wave(parts.audio, Path(scratch) / "sound.wav")
                sound = AudioSource(path=file, duration=len(pictures) / rate)
            with open_writer(
                path,
                size=(width, height),
                fps=rate,
                codec=codec.strip() or None,
                audio=sound,
                metadata=metadata,
            ) as writer:
                for picture in pictures:
                    writer.write(picture)
        result = ui.SavedResult(path.name, subfolder, io.FolderType.output)
        return io.NodeOutput(ui=ui.PreviewVideo([result]))
