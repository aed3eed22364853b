"""Pretrain the weights of ``backbone.weights: tiny`` on icons, and write the file that the package ships: for
maintainers.

The task is to tell which concept a picture shows, whoever drew it and in whatever style. It needs three npm packages,
as files of ``npm pack`` in one folder, the prepared test images of all packaged benchmarks, which no icon may resemble,
and resvg-py, which no other part of this project needs. The shipped file was made with these versions:

    npm pack @iconify-json/mdi@1.2.3 @iconify-json/tabler@1.2.41 @iconify-json/ph@1.2.2
    pip install resvg-py==0.5.0
    mola prepare digits emoji glyphs scenes
    python tools/pretrain_tiny.py FOLDER

All draws are seeded and all operations deterministic, on one thread.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import icon_sets
import near_duplicates
import numpy as np
import timm
import torch
from icon_pictures import pictures
from icon_sets import Icons, Source
from safetensors.torch import save
from torch import Tensor, nn

from mola import files
from mola.pretrained import TINY

PACKAGES = ("mdi-1.2.3", "tabler-1.2.41", "ph-1.2.2")
ALIKE = 0.85  # correlation of thumbnails above which an icon is left out; of those above .9 most show the same thing
BACKBONE = "resnet10t"
OPTIONS = {"channels": [16, 32, 64, 128], "stem_width": 16}

CONCEPTS = 500  # those with the most drawings
STEPS = 4000
BATCH = 128
LR = 0.004
WEIGHT_DECAY = 0.02
SMOOTHING = 0.1  # of the labels
SEED = 0


def unlike_tests(icons: Icons, data: Path) -> tuple[Icons, list[str]]:
    """The icons that resemble no test image of a packaged benchmark, and the names of these benchmarks."""
    tested = near_duplicates.tested(data)
    largest = np.zeros(len(icons.masks), dtype=np.float32)
    for name, images in tested.items():
        similarity = near_duplicates.similarity(icons.masks, images)
        print(f"{name}: {int((similarity > ALIKE).sum())} of {len(similarity)} icons resemble a test image")
        largest = np.maximum(largest, similarity)
    return icons.chosen(largest <= ALIKE), list(tested)


def by_concept(concepts: tuple[str, ...], count: int) -> list[Tensor]:
    """The positions of the drawings of each of the ``count`` concepts that have the most."""
    positions: dict[str, list[int]] = {}
    for i, concept in enumerate(concepts):
        positions.setdefault(concept, []).append(i)
    most = sorted(positions, key=lambda concept: (-len(positions[concept]), concept))[:count]
    return [torch.tensor(positions[concept]) for concept in most]


def trained(icons: Icons, steps: int = STEPS) -> dict[str, Tensor]:
    """The state of a backbone that has learnt to tell concepts, without its classifier."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    members = by_concept(icons.concepts, CONCEPTS)
    sizes, table = torch.tensor([len(m) for m in members]), nn.utils.rnn.pad_sequence(members, batch_first=True)
    masks = torch.from_numpy(icons.masks)[:, None]
    model = timm.create_model(BACKBONE, num_classes=len(members), **OPTIONS)
    model = model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps, pct_start=0.1)
    correct = 0
    for step in range(1, steps + 1):
        labels = torch.randint(len(members), (BATCH,), generator=generator)
        drawings = table[labels, (torch.rand(BATCH, generator=generator) * sizes[labels]).long()]
        images = pictures(masks[drawings].float() / 255, generator)
        scores = model(images.contiguous(memory_format=torch.channels_last))
        loss = nn.functional.cross_entropy(scores, labels, label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        correct += int((scores.argmax(1) == labels).sum())
        if step % 200 == 0:
            print(f"step {step}: loss {loss.item():.3f}, {correct / 2 / BATCH:.1f} % of the last 200 steps", flush=True)
            correct = 0
    return {key: value.contiguous() for key, value in model.state_dict().items() if not key.startswith("fc.")}


def metadata(sources: list[Source], compared: list[str], dropped: int) -> dict[str, str]:
    """What the file says about itself; :mod:`mola.pretrained` reads it."""
    return {
        "architecture": json.dumps({"name": BACKBONE, "options": OPTIONS}),
        "trained_on": json.dumps([source._asdict() for source in sources]),
        # benchmarks whose test images the pretraining saw
        "saw": "",
        "compared_with": ", ".join(compared),
        "dropped": str(dropped),
        "task": f"{CONCEPTS} concepts, {STEPS} steps of {BATCH} pictures, 32×32, normalised to [-1, 1]",
        "versions": json.dumps({name: version(name) for name in ("torch", "timm", "numpy", "resvg-py")}),
    }


def with_sorted_header(content: bytes) -> bytes:
    """A safetensors file with its header in alphabetical order: the library writes metadata in random order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True).encode()
    # tensors begin at a multiple of 8 bytes
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


def main(folder: Path, data: Path = Path("data"), output: Path = TINY) -> None:
    """Render, compare, train, write."""
    sets = [icon_sets.read(folder / f"iconify-json-{package}.tgz") for package in PACKAGES]
    drawn = Icons(np.concatenate([icons.masks for _, icons in sets]), sum((icons.concepts for _, icons in sets), ()))
    icons, compared = unlike_tests(drawn, data)
    entries = metadata([source for source, _ in sets], compared, len(drawn.masks) - len(icons.masks))
    state = trained(icons)
    content = with_sorted_header(save(state, entries))
    files.write(output, lambda path: path.write_bytes(content))
    print(f"{output}: {entries}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
