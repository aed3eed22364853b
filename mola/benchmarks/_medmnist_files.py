"""The sets of MedMNIST, where their files are, and how to know them.

Source: the README and the table of checksums of MedMNIST 3.0.2 (github.com/MedMNIST/MedMNIST); Zenodo 10519652, for the
older version Zenodo 6496656.
"""

from __future__ import annotations

from mola.data.fetch.download import Download

ADDRESS = "https://zenodo.org/records/10519652/files/{}?download=1"
PINNED, OLDER = "3.0", "2.2.3"  # versions of MedMNIST: up to the older one, three sets had blank images
TERMS = "cite MedMNIST v2 and the sources of its sets, as medmnist.com lists them"
# classes, channels and megabytes of the file at 28 pixels, in the paper's order
SETS = {
    "pathmnist": (9, 3, 206),
    "octmnist": (4, 1, 54.9),
    "organcmnist": (11, 1, 15.5),
    "bloodmnist": (8, 3, 35.5),
    "breastmnist": (2, 1, 0.56),
    "dermamnist": (7, 3, 19.7),
    "organamnist": (11, 1, 38.2),
    "organsmnist": (11, 1, 16.5),
    "pneumoniamnist": (2, 1, 4.17),
}
# pixels of a side → set → checksum
MD5 = {
    28: {
        "pathmnist": "a8b06965200029087d5bd730944a56c1",
        "octmnist": "c68d92d5b585d8d81f7112f81e2d0842",
        "organcmnist": "b9ceb9546e10131b32923c5bbeaea2b1",
        "bloodmnist": "7053d0359d879ad8a5505303e11de1dc",
        "breastmnist": "750601b1f35ba3300ea97c75c52ff8f6",
        "dermamnist": "0744692d530f8e62ec473284d019b0c7",
        "organamnist": "68e3f8846a6bd62f0c9bf841c0d9eacc",
        "organsmnist": "9ab87b696fb54e2a387ebe992d6ed5f1",
        "pneumoniamnist": "28209eda62fecd6e6a2d98b1501bb15f",
    },
    64: {
        "pathmnist": "55aa9c1e0525abe5a6b9d8343a507616",
        "octmnist": "e229e9440236b774d9f0dfef9d07bdaf",
        "organcmnist": "3ce34a8724ea6f548e6db4744d03b6a9",
        "bloodmnist": "2b94928a2ae4916078ca51e05b6b800b",
        "breastmnist": "742edef2a1fd1524b2efff4bd7ba9364",
        "dermamnist": "b70a2f5635c6199aeaa28c31d7202e1f",
        "organamnist": "2dcccc29b88e6da5a01161ef20cda288",
        "organsmnist": "53a6d115339d874c25e309a994ff46d3",
        "pneumoniamnist": "8f4eceb4ccffa70c672198ea285246c6",
    },
    128: {
        "pathmnist": "ac42d08fb904d92c244187169d1fd1d9",
        "octmnist": "0a97e76651ace45c5d943ee3f65b63ae",
        "organcmnist": "773c1f009daa3fe5d9a2a201b2a7ed94",
        "bloodmnist": "adace1e0ed228fccda1f39692059dd4c",
        "breastmnist": "363e4b3f8d712e9b5de15470a2aaadf1",
        "dermamnist": "2defd784463fa5243564e855ed717de1",
        "organamnist": "eeae80d0a227a8d099027e1b3cfd3b60",
        "organsmnist": "ded0c5fa01a95dc4978b956f613e9b8e",
        "pneumoniamnist": "05b46931834c231683c68f40c47b2971",
    },
    224: {
        "pathmnist": "2c51a510bcdc9cf8ddb2af93af1eadec",
        "octmnist": "abc493b6d529d5de7569faaef2773ba3",
        "organcmnist": "050f5e875dc056f6768abf94ec9995d1",
        "bloodmnist": "b718ff6835fcbdb22ba9eacccd7b2601",
        "breastmnist": "b56378a6eefa9fed602bb16d192d4c8b",
        "dermamnist": "8974907d8e169bef5f5b96bc506ae45d",
        "organamnist": "50747347e05c87dd3aaf92c49f9f3170",
        "organsmnist": "b354719e553fbbb2513d5533f52a4cb1",
        "pneumoniamnist": "d6a3c71de1b945ea11211b03746c1fe1",
    },
}
# at 28 pixels, where it differs
OLDER_MD5 = {
    "organcmnist": "0afa5834fb105f7705a7d93372119a21",
    "organamnist": "866b832ed4eeba67bfb9edee1d5544e6",
    "organsmnist": "e5c39f1af030238290b9557d9503af9d",
}


def published(size: int) -> tuple[Download, ...]:
    """Return the nine files of one size of images, in the paper's order."""
    return tuple(_published(name, size) for name in MD5[size])


def _published(name: str, size: int) -> Download:
    file = f"{name}.npz" if size == 28 else f"{name}_{size}.npz"
    checksums = {PINNED: f"md5:{MD5[size][name]}"}
    if size == 28 and name in OLDER_MD5:
        checksums[OLDER] = f"md5:{OLDER_MD5[name]}"
    return Download(
        name,
        "Zenodo 10519652 (MedMNIST 3.0)",
        "CC BY-NC 4.0" if name == "dermamnist" else "CC BY 4.0",
        "",
        file,
        (ADDRESS.format(file),),
        checksums,
        int(SETS[name][2] * 1e6) if size == 28 else None,
        TERMS,
    )
