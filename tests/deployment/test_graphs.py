"""Graphs of models for other runtimes."""

import onnxruntime
import pytest
import torch
from building import TASKS, build
from torch import nn

from mola.deployment import graphs
from mola.inference.description import Description, Images
from mola.inference.model import Model, Whole
from mola.types import BadInput


def model_of(name, **options):
    method = build(name, TASKS, **options).eval()
    for parameter in method.parameters():
        if (parameter == 0).all():
            nn.init.normal_(parameter, std=0.1)
    classes = {task.name: tuple(map(str, range(task.outputs))) for task in TASKS}
    images = Images((32, 32), "photos", mean=(0.5,) * 3, std=(0.5,) * 3)
    about = Description("digits", "domain", TASKS, classes, images, (), name, options, {"name": "own:net"})
    return Model(Whole(method, about), about, needs_task=name == "mola_grad").eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mola_grad", "lora_moe"])
def test_a_graph_answers_as_the_model_for_any_number_of_images(name, tmp_path):
    """The expert of a task is merged; the few experts that an image chooses become weights of all."""
    model, x = model_of(name), torch.randn(5, 3, 32, 32)
    files = graphs.write_graphs(model, tmp_path, onnx=True, torch_export=True)
    titles = [task.name for task in TASKS] if name == "mola_grad" else ["model"]
    assert files == [f"{title}.{ending}" for title in titles for ending in ("onnx", "pt2")]
    last = TASKS[-1].name
    with torch.no_grad():
        expected = model(x, last)
    session = onnxruntime.InferenceSession(tmp_path / f"{titles[-1]}.onnx")
    assert [each.name for each in session.get_outputs()] == ([last] if name == "mola_grad" else [*model.tasks])
    (actual,) = session.run([last], {"images": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(actual), expected, rtol=1e-5, atol=1e-5)
    program = torch.export.load(tmp_path / f"{titles[-1]}.pt2").module()
    torch.testing.assert_close(program(x)[-1], expected, rtol=1e-5, atol=1e-5)


def test_a_graph_with_other_numbers_and_a_missing_package_are_refused(tmp_path, monkeypatch):
    model = model_of("shared")
    monkeypatch.setattr(
        graphs, "_torch_export", lambda graph, x, path: lambda images: [y + 1e-4 for y in graph(images)]
    )
    with pytest.raises(BadInput, match=f"--torch-export: expected predictions of {TASKS[0].name} equal to 1e-05"):
        graphs.write_graphs(model, tmp_path, onnx=False, torch_export=True)
    monkeypatch.setattr(graphs, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(BadInput, match=r"found no no_such_package; pip install 'mola-bench\[onnx\]'"):
        graphs.write_graphs(model, tmp_path, onnx=True, torch_export=False)
