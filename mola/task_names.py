"""What a task may be called: heads are parts of a PyTorch module by its name, and names of arrays begin with it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mola.types import BadInput, one_line

PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
WISH = "letters, digits, _ and -, and no word of PyTorch's modules such as train"
# what nn.ModuleDict has for itself; a test compares it with torch's
_OF_MODULES = """
    T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda double
    dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu items
    keys load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
    register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to to_empty
    train training type update values xpu zero_grad
"""
RESERVED = frozenset(_OF_MODULES.split())


def task_name(words: str) -> str:
    """The name of the task that a folder, a column or a word in a list stands for: blanks become underscores."""
    return words.strip().replace(" ", "_")


def fits(name: str) -> bool:
    """Whether a task can have this name."""
    return bool(PATTERN.fullmatch(name)) and name not in RESERVED


def check_task_names(names: Iterable[str], where: str) -> None:
    """Raise BadInput for the first name that no task can have. where: what names the tasks, for the message."""
    for name in names:
        if not fits(name):
            raise BadInput(f"{where}: expected {WISH}; found {one_line(repr(name), 80)}")
