"""`make fuzz`: fuzz the decoders with atheris, which takes libFuzzer's arguments.

python -m tests.fuzz CORPUS [-max_total_time=60 …]: CORPUS is first filled with valid encodings. An input that breaks a
decoder is written to crash-… in the folder of -artifact_prefix; pass that file in place of CORPUS to reproduce it.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["schemas"]):
    from tests.fuzz.decoder import check, seeds

corpus = Path(sys.argv[1])
if not corpus.is_file():
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number:03}").write_bytes(seed)
atheris.Setup(sys.argv, check)
atheris.Fuzz()
