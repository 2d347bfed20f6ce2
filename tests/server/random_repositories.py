"""Random repositories that are often valid and often not, for the comparison of the checker with the server."""

from __future__ import annotations

import random

from tests.rules.pages import Entry

PLATFORMS = ('backend: "python"', 'backend: "python"', 'platform: "tensorrt_plan"', 'platform: "onnxruntime_onnx"')
SHAPES = ("[ 3 ]", "[ 3 ]", "[ -1 ]", "[ -1, 3 ]")


def repository(source: random.Random) -> dict[str, Entry]:
    """Path → content: one model, or an ensemble `e` of the models `m` and `n`."""
    make = _Maker(source)
    if source.random() < 0.65:
        platform = source.choice(PLATFORMS)
        files = {"m/config.pbtxt": Entry("text", make.model(platform))}
        name = "model.py" if "python" in platform else "model.plan" if "tensorrt" in platform else "weights.bin"
        return files | {f"m/1/{name}": Entry("stock", "model.py") if name == "model.py" else Entry("bytes", "50")}
    files = {"e/config.pbtxt": Entry("text", make.ensemble()), "e/1": Entry("folder")}
    for name in "mn":
        files[f"{name}/config.pbtxt"] = Entry("text", make.step_model())
        files[f"{name}/1/model.py"] = Entry("stock", "model.py")
    return files


class _Maker:
    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.one = source.choice

    def chance(self, probability: float) -> bool:
        return self.source.random() < probability

    def often(self, usual: str, *others: str) -> str:
        """`usual`, and now and then something else."""
        return usual if self.chance(0.95) else self.one(others)

    def number(self) -> int:
        return self.one((-1, 0, 1, 2, 3, 4, 8, 16))

    def dims(self) -> str:
        sizes = (-1, 1, 2, 3, 4, 0, -2) if self.chance(0.15) else (-1, 1, 2, 3, 4)
        return f"[ {', '.join(str(self.one(sizes)) for _ in range(self.one((1, 1, 1, 2, 3, 0))))} ]"

    def dtype(self) -> str:
        return (
            self.one(("TYPE_INT32", "TYPE_STRING", "TYPE_BOOL", "TYPE_INVALID")) if self.chance(0.15) else "TYPE_FP32"
        )

    def tensor(self, name: str, *, is_input: bool) -> str:
        parts = [f'name: "{name}" data_type: {self.dtype()} dims: {self.dims()}']
        if self.chance(0.2):
            parts.append(f"reshape: {{ shape: {self.dims()} }}")
        if self.chance(0.03):
            parts.append("is_shape_tensor: true")
        if is_input and self.chance(0.1):
            parts.append(self.one(("format: FORMAT_NCHW", "optional: true", "allow_ragged_batch: true")))
        return f"{{ {' '.join(parts)} }}"

    def model(self, platform: str) -> str:
        lines = [platform, f"max_batch_size: {self.number() if self.chance(0.2) else self.one((0, 4, 8))}"]
        for side, names in (("input", self.one((["x"], ["x", "w"]))), ("output", self.one((["y"], ["y", "v"])))):
            lines.append(f"{side} [ {', '.join(self.tensor(name, is_input=side == 'input') for name in names)} ]")
        lines += [self.scheduler(), self.groups(), self.warmup()]
        extras = {
            "response_cache { enable: true }": 0.1,
            "version_policy { latest { } }": 0.03,
            "version_policy { specific { versions: [ 2 ] } }": 0.03,
            "model_metrics { }": 0.02,
            'batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_INT32 source_input: "q" } ]': 0.03,
        }
        return "\n".join([*lines, *(text for text, share in extras.items() if self.chance(share))]) + "\n"

    def scheduler(self) -> str:
        choice = self.source.random()
        if choice < 0.35:
            return ""
        if choice < 0.75:
            return f"dynamic_batching {{ {self.dynamic()} }}"
        return f"sequence_batching {{ {self.sequence()} }}"

    def dynamic(self) -> str:
        parts = []
        if self.chance(0.4):
            parts.append(f"preferred_batch_size: [ {self.number()}, {self.number()} ]")
        if self.chance(0.3):
            level = self.one((0, 1, 2, 3))
            parts.append(f"priority_levels: {level} default_priority_level: {self.one((0, 1, level, 3))}")
        if self.chance(0.2):
            parts.append("preserve_ordering: true")
        if self.chance(0.2):
            parts.append(f"default_queue_policy {{ {self.policy()} }}")
        if self.chance(0.15):
            parts.append(f"priority_queue_policy {{ key: {self.one((0, 1, 2, 5))} value {{ {self.policy()} }} }}")
        return " ".join(parts)

    def policy(self) -> str:
        return f"default_timeout_microseconds: {self.one((0, 1000))} timeout_action: {self.one(('REJECT', 'DELAY'))}"

    def sequence(self) -> str:
        controls = [self.control() for _ in range(self.one((1, 2, 3)))]
        strategy = self.one(
            (
                "direct { }",
                f"direct {{ minimum_slot_utilization: {self.one((0, 0.5, 1, 2))} }}",
                f"oldest {{ max_candidate_sequences: 4 preferred_batch_size: [ {self.number()} ] }}",
            )
        )
        return f"control_input [ {', '.join(controls)} ] {strategy}"

    def control(self) -> str:
        kind = self.one(("START", "END", "READY", "CORRID"))
        if kind == "CORRID":
            values = f"data_type: {self.one(('TYPE_UINT64', 'TYPE_INT32', 'TYPE_FP32'))}"
        else:
            values = self.often("int32_false_true: [ 0, 1 ]", "", "fp32_false_true: [ 0 ]")
        return f'{{ name: "{self.one("ABCD")}" control [ {{ kind: CONTROL_SEQUENCE_{kind} {values} }} ] }}'

    def groups(self) -> str:
        if self.chance(0.4):
            return ""
        parts = [self.often("kind: KIND_CPU", "kind: KIND_GPU", "kind: KIND_AUTO", "kind: KIND_MODEL")]
        if self.chance(0.3):
            parts.append(f"count: {self.one((-1, 0, 1, 2))}")
        if self.chance(0.1):
            parts.append(f"gpus: [ {self.one((0, -1))} ]")
        if self.chance(0.1):
            parts.append(f'profile: [ "{self.one(("0", "1", "a", "-1", "01"))}" ]')
        return f"instance_group [ {{ {' '.join(parts)} }} ]"

    def warmup(self) -> str:
        if self.chance(0.8):
            return ""
        source = self.often("zero_data: true", "")
        value = f"data_type: {self.dtype()} dims: {self.dims()} {source}"
        return f'model_warmup [ {{ batch_size: {self.one((0, 1))} inputs {{ key: "x" value {{ {value} }} }} }} ]'

    def step_model(self) -> str:
        tensors = [
            f'{side} [ {{ name: "{name}" data_type: {self.often("TYPE_FP32", "TYPE_INT32")} dims: {self.one(SHAPES)} }} ]'
            for side, name in (("input", "x"), ("output", "y"))
        ]
        head = f'backend: "python"\nmax_batch_size: {self.one((0, 4, 4, 8))}\ninstance_group [ {{ kind: KIND_CPU }} ]'
        return "\n".join([head, *tensors]) + "\n"

    def ensemble(self) -> str:
        names = ("image", "scores", "h", "k")
        steps, current = [], "image"
        count = self.one((1, 2, 2, 3))
        for index in range(count):
            written = "scores" if index + 1 == count else self.often(self.one("hk"), *names)
            read, key = self.often(current, *names), self.often("x", "y", "image")
            maps = [self.often(f'input_map {{ key: "{key}" value: "{read}" }}', "")]
            maps += [self.often(f'output_map {{ key: "{self.often("y", "x")}" value: "{written}" }}', "")]
            version = self.often("model_version: -1", "", "model_version: 1", "model_version: 2")
            name = self.often(self.one("mn"), "e", "gone", "")
            steps.append(f'{{ model_name: "{name}" {version} {" ".join(maps)} }}')
            current = written
        ends = [
            f'{side} [ {{ name: "{name}" data_type: TYPE_FP32 dims: {self.one(SHAPES)} }} ]'
            for side, name in (("input", "image"), ("output", "scores"))
        ]
        scheduling = f"ensemble_scheduling {{ step [ {', '.join(steps)} ] }}"
        extra = self.often("", "dynamic_batching { }", "model_warmup [ { batch_size: 1 } ]")
        return (
            "\n".join(['platform: "ensemble"', f"max_batch_size: {self.one((0, 4, 8))}", *ends, scheduling, extra])
            + "\n"
        )
