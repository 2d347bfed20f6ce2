"""Stands for any Python model, or for the backend of any platform: answers zeros in the configured shapes."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.batching = config["max_batch_size"] > 0
        self.outputs = [
            (output["name"], pb_utils.triton_string_to_numpy(output["data_type"]), output["dims"])
            for output in config["output"]
        ]

    def execute(self, requests):
        return [pb_utils.InferenceResponse(self.answer(request)) for request in requests]

    def answer(self, request):
        batch = request.inputs()[0].shape()[:1] if self.batching else []
        shapes = [(name, dtype, [*batch, *(max(int(d), 1) for d in dims)]) for name, dtype, dims in self.outputs]
        answers = {name: np.zeros(shape, dtype) for name, dtype, shape in shapes}
        return [pb_utils.Tensor(name, array) for name, array in answers.items()]
