"""The operators there are: each a folder with `operator.yaml`, shipped with the package or written by a user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from repository_builder.errors import Problem, SpecError, nearest
from repository_builder.resources import data_folder

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_KEYS = {
    "operator", "domain", "class", "plugin", "summary", "needed", "aot", "inputs", "outputs", "attributes", "aliases",
    "bake", "optional_inputs", "extra_attributes",
}  # fmt: skip


@dataclass(frozen=True)
class Operator:
    """One operator folder, as its `operator.yaml` describes it."""

    folder: Path
    operator: str
    """ONNX operator type."""
    domain: str
    """ONNX domain, `""` for the standard's own."""
    cpp_class: str
    plugin: str
    """Name under which TensorRT's registry holds the creator; with `version` and `namespace` unique in a process."""
    version: str
    namespace: str
    summary: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _NOTHING)
    needed: Any = "always"
    aot: tuple[str, ...] = ()
    """For the ahead-of-time route: shape of each output as an expression of the inputs' shapes (lists `i0`, `i1`, …) and the
    attributes; empty: the operator is not one launch of independent units."""
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: _NOTHING)
    bake: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    """Attribute of the plugin → position of the ONNX input whose constant value it holds."""
    optional_inputs: bool = False
    """Inputs may be left out; the plugin's attribute `present` says which are there."""

    @property
    def key(self) -> str:
        """The folder's name: the operator's name on the command line."""
        return self.folder.name

    @property
    def qualified(self) -> str:
        """`domain::Operator`, or the plain name for the standard's domain."""
        return f"{self.domain}::{self.operator}" if self.domain else self.operator

    @property
    def library(self) -> str:
        """File name of the compiled library."""
        return f"libtrb_{self.key}.so"

    @cached_property
    def sources(self) -> tuple[Path, ...]:
        """Everything that may change the compiled library: the folder's C++ and CUDA files and the common ones."""
        common = sorted(self.common.iterdir())
        own = sorted(p for p in self.folder.iterdir() if p.suffix in (".h", ".cuh", ".cu", ".cpp"))
        return (*common, *own)

    @property
    def common(self) -> Path:
        """Headers that all operators share."""
        return data_folder("plugins_cuda") / "common"

    def file(self, suffix: str) -> Path:
        """`<folder>/<key><suffix>`, which must exist."""
        path = self.folder / f"{self.key}{suffix}"
        if not path.is_file():
            raise SpecError(
                f"operator `{self.key}` lacks {path.name}", where=self.folder, fix="see docs/plugins.md, `Add a plugin`"
            )
        return path


def shipped() -> tuple[Operator, ...]:
    """The operators that come with the toolkit, by name."""
    return find([data_folder("plugins_cuda")])


def find(folders: Iterable[Path]) -> tuple[Operator, ...]:
    """Operators in `folders`: each an operator folder itself or a folder of such; names must be unique."""
    found: dict[str, Operator] = {}
    for folder in folders:
        if not folder.is_dir():
            raise SpecError(f"there is no folder {folder}", fix="name a folder that holds operator.yaml")
        files = [folder / "operator.yaml"] if (folder / "operator.yaml").is_file() else folder.glob("*/operator.yaml")
        for file in sorted(files):
            operator = read(file)
            if clashes_with_nvidia(operator):
                raise SpecError(
                    f"NVIDIA's own library has a plugin called `{operator.plugin}`",
                    where=file,
                    why="both would be registered in namespace ``, and the server would take whichever came first",
                    fix="choose another `plugin.name`, or a `plugin.namespace` of your own",
                )
            _refuse_clash(found, operator)
            found[operator.key] = operator
    return tuple(found[key] for key in sorted(found))


def choose(name: str, among: Iterable[Operator]) -> Operator:
    """The operator with this folder name, operator type or qualified name."""
    operators = tuple(among)
    for operator in operators:
        if name in (operator.key, operator.operator, operator.qualified, operator.plugin):
            return operator
    known = [operator.key for operator in operators]
    raise SpecError(
        f"there is no plugin `{name}`{nearest(name, known)}",
        why=f"known: {', '.join(known) or 'none'}",
        fix="see `triton-repo plugin list`; --plugins FOLDER adds your own",
    )


def read(file: Path) -> Operator:
    """One `operator.yaml`; all problems at once."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError("operator.yaml cannot be read", where=file, why=str(error), fix="correct the YAML") from error
    problems = list(_problems(content, file))
    if problems:
        raise SpecError.many(problems)
    plugin = content["plugin"]
    return Operator(
        folder=file.parent.resolve(),
        operator=content["operator"],
        domain=content.get("domain", ""),
        cpp_class=content.get("class", content["operator"]),
        plugin=plugin["name"],
        version=str(plugin.get("version", "1")),
        namespace=plugin.get("namespace", ""),
        summary=content.get("summary", ""),
        inputs=tuple(content["inputs"]),
        outputs=tuple(content["outputs"]),
        attributes=content.get("attributes") or {},
        needed=content.get("needed", "always"),
        aot=tuple((content.get("aot") or {}).get("outputs", ())),
        aliases=content.get("aliases") or {},
        bake=content.get("bake") or {},
        optional_inputs=bool(content.get("optional_inputs", False)),
    )


def _problems(content: Any, file: Path) -> Iterable[Problem]:
    if not isinstance(content, dict):
        yield Problem("operator.yaml is not a mapping", str(file), fix="see docs/plugins.md")
        return
    for key in content:
        if key not in _KEYS:
            yield Problem(f"unknown key `{key}`{nearest(str(key), _KEYS)}", str(file), fix="remove or correct it")
    for key, kind in (("operator", str), ("plugin", dict), ("inputs", list), ("outputs", list)):
        if not isinstance(content.get(key), kind):
            yield Problem(f"`{key}` is missing or not a {kind.__name__}", str(file), fix="see docs/plugins.md")
    aot = content.get("aot")
    if aot is not None and not (isinstance(aot, dict) and isinstance(aot.get("outputs"), list)):
        yield Problem("`aot` is not of the form {outputs: [i0]}", str(file), fix="see docs/plugins.md, or remove it")
    if isinstance(content.get("plugin"), dict) and not content["plugin"].get("name"):
        yield Problem("`plugin.name` is missing", str(file), fix="give the name that TensorRT's registry shall hold")


def _refuse_clash(found: Mapping[str, Operator], new: Operator) -> None:
    for old in found.values():
        same = (old.plugin, old.version, old.namespace) == (new.plugin, new.version, new.namespace)
        if same or old.key == new.key:
            raise SpecError(
                f"two plugins are called `{new.plugin}` version {new.version} namespace `{new.namespace}`"
                if same
                else f"two plugin folders are called `{new.key}`",
                where=f"{old.folder} and {new.folder}",
                why="plugins are process-wide in a server: name, version and namespace must be unique over all models",
                fix="rename one of them, or give it another namespace",
            )


NVIDIA_PLUGINS = frozenset({
    "BatchedNMS_TRT", "BatchedNMSDynamic_TRT", "BatchTilePlugin_TRT", "Clip_TRT", "CoordConvAC", "CropAndResize",
    "CropAndResizeDynamic", "CustomEmbLayerNormPluginDynamic", "CustomFCPluginDynamic", "CustomGeluPluginDynamic",
    "CustomQKVToContextPluginDynamic", "CustomSkipLayerNormPluginDynamic", "DecodeBbox3DPlugin",
    "DetectionLayer_TRT", "DisentangledAttention_TRT", "EfficientNMS_TRT", "EfficientNMS_ONNX_TRT",
    "EfficientNMS_Explicit_TF_TRT", "EfficientNMS_Implicit_TF_TRT", "FlattenConcat_TRT", "GenerateDetection_TRT",
    "GridAnchor_TRT", "GridAnchorRect_TRT", "GroupNormalizationPlugin",
    "InstanceNormalization_TRT", "LReLU_TRT", "ModulatedDeformConv2d",
    "MultilevelCropAndResize_TRT", "MultilevelProposeROI_TRT", "MultiscaleDeformableAttnPlugin_TRT", "NMS_TRT",
    "NMSDynamic_TRT", "Normalize_TRT", "PillarScatterPlugin", "PriorBox_TRT", "ProposalDynamic", "ProposalLayer_TRT",
    "Proposal", "PyramidROIAlign_TRT", "Region_TRT", "Reorg_TRT", "ResizeNearest_TRT", "ROIAlign_TRT", "RPROI_TRT",
    "ScatterElements", "ScatterND", "SpecialSlice_TRT", "Split", "TopkLastDim", "VoxelGeneratorPlugin",
})  # fmt: skip
"""Names that NVIDIA's plugin library registers in namespace `""` in TensorRT 10 or 11."""


def clashes_with_nvidia(operator: Operator) -> bool:
    """True if NVIDIA's own library would register the same name in the same namespace."""
    return operator.namespace == "" and operator.plugin in NVIDIA_PLUGINS
