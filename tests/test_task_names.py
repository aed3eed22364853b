"""What a task may be called."""

from torch import nn

from mola.task_names import RESERVED, fits


def test_names_that_pytorch_has_for_itself_are_refused():
    """A head is kept under its task's name: with one of these a model could not be built."""
    module = nn.ModuleDict()
    assert {name for name in {*dir(module), *vars(module)} if not name.startswith("_")} <= RESERVED
    for name in ("photo", "real_world", "2024", "a-b", *RESERVED):
        try:
            nn.ModuleDict({name: nn.Identity()})
        except KeyError:
            assert not fits(name)
