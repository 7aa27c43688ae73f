"""optimum's ONNX configuration of an architecture, with our inputs, outputs and axis names."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, cast

import optimum.exporters.onnx.model_configs  # noqa: F401  (fills the registry)
from optimum.exporters.tasks import TasksManager

from smartrt.errors import ExportError

if TYPE_CHECKING:
    from optimum.exporters.onnx import OnnxConfig
    from transformers import PretrainedConfig

TASK = "feature-extraction"
_AXES = {0: "batch", 1: "length"}


def supported_model_types() -> list[str]:
    """The ``model_type`` names that optimum exports for feature extraction, sorted."""
    registry = TasksManager._SUPPORTED_MODEL_TYPE  # noqa: SLF001  (the registry has no public listing)
    return sorted(name for name, backends in registry.items() if TASK in backends.get("onnx", {}))


def text_encoder_config(config: PretrainedConfig) -> OnnxConfig:
    """An OnnxConfig for `config`'s architecture with outputs ``pooled`` and ``token_states``.

    Raises:
        ExportError: optimum does not know the architecture.
    """
    try:
        constructor = TasksManager.get_exporter_config_constructor(
            exporter="onnx", model_type=config.model_type, task=TASK, library_name="transformers"
        )
    except (KeyError, ValueError) as error:
        raise ExportError(
            f"optimum-onnx does not export {config.model_type!r} models; it does: {', '.join(supported_model_types())}"
        ) from error
    base = constructor.func if isinstance(constructor, functools.partial) else constructor
    return cast("OnnxConfig", _two_outputs(base)(config, task=TASK))


def _two_outputs(base: Any) -> Any:
    if not inspect.isclass(base):
        raise ExportError(f"optimum-onnx exports this architecture through {base!r}, which is no OnnxConfig class")

    class TwoOutputs(base):  # type: ignore[misc]
        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            """Ids and mask always (some architectures' own list leaves the mask out), segments where known."""
            names = ["input_ids", "attention_mask"]
            if "token_type_ids" in super().inputs:
                names.append("token_type_ids")
            return dict.fromkeys(names, _AXES)

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            return {"pooled": {0: "batch"}, "token_states": _AXES}

    return TwoOutputs
