"""One checkpoint to the files of a bundle, in any precision and as often as a search needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

import smartrt
from smartrt.bundle import sha256_of
from smartrt.errors import OptionError
from smartrt.manifest import FORMAT_VERSION, FileEntry, GraphEntry, Manifest, Scoring, Source
from smartrt.models.reference import load_config
from smartrt.price import Agreement, Cosines, Precision, Verified

from .calibration import Calibration
from .dialect.fuse import fuse
from .external import DataFile, weight_bytes
from .precision.convert import convert
from .precision.products import find_products, is_named
from .precision.proof import check_proof, prove

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager
    from pathlib import Path

    import onnx_ir as ir

    from smartrt.manifest import Dialect
    from smartrt.models.checkpoint import Checkpoint

    from .calibration import CalibrationItems
    from .precision.scheme import Scheme

    Bar = Callable[[str, int], AbstractContextManager[Any]]

_LIBRARIES = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "tokenizers")
_NOT_MEASURED = Cosines(0.0, 0.0, 0.0)
_UNVERIFIED = Verified("nothing yet", None, 0, 0.0, _NOT_MEASURED, _NOT_MEASURED, Agreement(0, 0, 0), 0.0, {}, "", ())


@dataclass(frozen=True)
class Built:
    """A bundle's files and manifest, not verified yet, and the error of each rounded product by module."""

    manifest: Manifest
    errors: dict[str, float]


@dataclass
class Builder:
    """Traces once, converts as often as asked.

    Attributes:
        checkpoint: Where the weights are.
        family: The module of its family (`text_family`, `qwen_vl_family`).
        reference: The checkpoint in PyTorch.
        items: What activations are measured on.
        scratch: A directory that lives as long as the builder.
        opset: Of the float graphs.
        dialect: Which operators they use; `fused` is made of the same traced graphs.
        bar: Makes a progress bar of a label and a number of bytes.
        report: Told of each step.
    """

    checkpoint: Checkpoint
    family: Any
    reference: Any
    items: CalibrationItems
    scratch: Path
    opset: int
    dialect: Dialect
    bar: Bar
    report: Callable[[str], None]
    _traced: dict[str, ir.Model] = field(default_factory=dict)

    def build(self, directory: Path, name: str, scheme: Scheme, keep: Collection[str] = ()) -> Built:
        """Write every file but the manifest to `directory`.

        Args:
            directory: Empty.
            name: Of the bundle.
            scheme: The precision.
            keep: Modules that stay wide, or graphs: ``vision``, ``layers.0``, ``layers.0.mlp.up_proj``.

        Raises:
            ExportError: The precision did not take, or the checkpoint cannot be traced.
        """
        parts = self.family.write(directory, self.reference, scheme)
        if not self._traced:
            self.report(f"tracing, opset {self.opset}")
            self._traced = self.family.trace(self.reference, self.scratch, self.opset)
        measured = Calibration(
            self.family.calibrate(self.reference, self.items.items, moments=scheme.rounding == "compensated")
        )
        self._check_names(keep)
        errors: dict[str, float] = {}
        wide: dict[str, dict[str, int]] = {}
        graphs: dict[str, GraphEntry] = {}
        opsets = []
        for graph, traced in self._traced.items():
            model = traced.clone()
            if self.dialect == "fused":
                fuse(model)
            self.report(f"writing {graph} as {scheme.name}")
            total = weight_bytes(model)
            with self.bar(f"{graph} to {scheme.name}", total) as bar, DataFile(directory, graph, bar.advance) as data:
                outcome = convert(model, scheme, measured.of(graph), data, _inside(graph, keep))
                data.finish(model)
            errors |= {f"{graph}.{path}": error for path, error in outcome.errors.items()}
            wide[graph] = outcome.wide
            graphs[graph] = _entry(model, graph)
            opsets.append(model.opset_imports[""])
        proofs = {graph: prove(directory / f"{graph}.onnx") for graph in graphs}
        check_proof(proofs, scheme, {graph: sum(sizes.values()) for graph, sizes in wide.items()})
        precision = Precision(
            name=scheme.name,
            activations=scheme.activations,
            compute=scheme.compute,
            rounding=scheme.rounding if scheme.quantized else None,
            calibration=self.items.source if scheme.calibrated else None,
            calibration_sha256=self.items.sha256() if scheme.calibrated else None,
            kept={graph: tuple(paths) for graph, paths in wide.items() if paths},
            graphs=proofs,
        )
        parts |= {"graphs": graphs, "opset": max(opsets), "dialect": self.dialect}
        return Built(self._manifest(directory, name, parts, precision), errors)

    def _check_names(self, keep: Collection[str]) -> None:
        """Every name means a product: a misspelt one would be rounded all the same."""
        paths = [
            (graph, product.path) for graph, model in self._traced.items() for product in find_products(model.graph)
        ]
        for name in keep:
            if not any(is_named(path, [name]) or is_named(f"{graph}.{path}", [name]) for graph, path in paths):
                some = ", ".join(path for _, path in paths[:3])
                raise OptionError(f"--keep {name}: there is no such module; there are {some} …")

    def _manifest(self, directory: Path, name: str, parts: dict[str, Any], precision: Precision) -> Manifest:
        config = load_config(self.checkpoint)
        preset = getattr(self.reference, "preset_name", None)
        weights = self.checkpoint.weights_sha256()
        files = sorted(path for path in directory.iterdir() if path.is_file())
        return Manifest(
            format_version=FORMAT_VERSION,
            name=name,
            source=Source(self.checkpoint.name, self.checkpoint.revision, config.model_type, preset, weights),
            exporter={"smartrt": smartrt.__version__} | {name: metadata.version(name) for name in _LIBRARIES},
            precision=precision,
            files={path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in files},
            token_layers=self.reference.head.layers,
            adapter=self.reference.head.adapter,
            scoring=Scoring(1.0, 1.0, "mean"),
            verified=_UNVERIFIED,
            **parts,
        )


def _inside(graph: str, keep: Collection[str]) -> list[str]:
    """Names of modules of one graph; its own name stands for all of them."""
    if graph in keep:
        return [""]
    return [name.removeprefix(f"{graph}.") for name in keep]


def _entry(model: ir.Model, name: str) -> GraphEntry:
    inputs, outputs = (tuple(str(value.name) for value in side) for side in (model.graph.inputs, model.graph.outputs))
    return GraphEntry(f"{name}.onnx", inputs, outputs)
