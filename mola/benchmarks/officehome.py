"""Office-Home: 65 things of offices and homes as products, art, clip art and photographs; 15588 images, downloaded.

Source: Venkateswara, Eusebio, Chakraborty & Panchanathan, Deep Hashing Network for Unsupervised Domain Adaptation,
CVPR 2017 (arXiv 1706.07522).
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from mola.benchmarks import METRICS
from mola.benchmarks._folders import ByClass, Folders
from mola.data.fetch.download import DRIVE, Download
from mola.types import Split, Task

NAMES = """
    Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair Clipboards Computer Couch
    Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops Flowers Folder Fork Glasses Hammer Helmet
    Kettle Keyboard Knives Lamp_Shade Laptop Marker Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen Pencil
    Postit_Notes Printer Push_Pin Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda Speaker Spoon
    TV Table Telephone ToothBrush Toys Trash_Can Webcam
"""
CLASSES = tuple(NAMES.split())
DOMAINS = {"product": "Product", "art": "Art", "clipart": "Clipart", "real_world": "Real_World"}  # the paper's order


class OfficeHome(Folders):
    """The archive has ``OfficeHomeDataset_10072016/<domain>/<class>``, one domain's folder with a blank."""

    name = "officehome"
    version = 1
    tasks = tuple(Task(name, "classes", len(CLASSES), METRICS) for name in DOMAINS)
    classes, domains = CLASSES, DOMAINS
    mean = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as in the paper's code
    std = (0.26862954, 0.26130258, 0.27577711)
    sources = (
        Download(
            "officehome",
            "https://www.hemanthdv.org/officeHomeDataset.html",
            "fair-use notice of the authors",
            "",
            file="OfficeHomeDataset_10072016.zip",
            mirrors=(
                "1uY0pj7oFsjMxRwaD3Sxy0jgel0fsYXLC",
                "1o2ieb-WCn-d4UBpJ_Fg5n1uIil60nJz2",
                "1USXqK4nCvOAR5Ty4iwKcuCOrRJoRuDyU",
                f"{DRIVE}0B81rNlvomiwed0V1YUxQdC1uOTg&resourcekey=0-2SNWq0CDAuWOBRRBL7ZZsw",
                "https://wjdcloud.blob.core.windows.net/dataset/OfficeHome.zip",
            ),
            checksums={"2016-10-07": "md5:b1c14819770c4448fd5b6d931031c91c"},
            terms="For non-commercial research and education only.",
        ),
    )

    @property
    def listed_tasks(self) -> tuple[str, ...]:
        """All of them for the paper's split, which shuffles all domains together."""
        return super().listed_tasks if self.options.split == "ours" else tuple(DOMAINS)

    def splits(self, listed: Mapping[str, ByClass]) -> Mapping[str, Mapping[Split, ByClass]]:
        """Split as ours, or as the paper: all domains in one sorted list, shuffled by Python's generator from seed 0,
        nine tenths to train. The paper's list is not published, so that the images are other ones, as many.
        """
        if self.options.split == "ours":
            return super().splits(listed)
        folders = {folder: task for task, folder in DOMAINS.items()}
        pool = sorted(
            f"{DOMAINS[task]}/{name}" for task, by_class in listed.items() for each in by_class for name in each
        )
        random.Random(0).shuffle(pool)
        splits: dict[str, dict[Split, list[list[str]]]] = {
            task: {"train": [[] for _ in CLASSES], "test": [[] for _ in CLASSES]} for task in DOMAINS
        }
        for position, path in enumerate(pool):
            folder, _, name = path.partition("/")
            split: Split = "train" if position < len(pool) * 9 // 10 else "test"
            splits[folders[folder]][split][CLASSES.index(name.partition("/")[0])].append(name)
        return splits
