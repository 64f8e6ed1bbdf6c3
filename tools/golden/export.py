"""Exports an encoder as published bundles do: opset 18, one named input and output (or transformers' names), free batch."""

import torch


def export(module, args, path, inputs, output, batch_free=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    names = inputs + [output]
    torch.onnx.export(
        module.eval(), args, str(path), input_names=inputs, output_names=[output], opset_version=18, dynamo=False,
        dynamic_axes={name: {0: "batch"} for name in names} if batch_free else None,
    )


def export_dynamo(module, args, path, name, opset):
    """By the newer exporter. Its own values may be called "embedding", so the output is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(module.eval(), args, str(path), input_names=[name], output_names=["row"], opset_version=opset, dynamo=True, external_data=False)


class Call(torch.nn.Module):
    """Gives a method or function of a model the form of a module."""

    def __init__(self, model, call):
        super().__init__()
        self.model, self.call = model, call

    def forward(self, *args):
        return self.call(self.model, *args)
