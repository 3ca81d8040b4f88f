"""What kind of file is this? The neural network of Google's Magika, on the first and last kilobyte of the content.

The model, its configuration and the table of file types are read from the installed package `magika`; its Python code
is not imported: what it does with the configuration takes a page.
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime


@dataclass(frozen=True)
class Answer:
    label: str
    mime_type: str
    description: str
    group: str
    score: float  # the network's confidence; 1.0 where it was not asked
    guess: str  # what the network said before its confidence was looked at; the label itself when it is trusted


class FileType:
    def load(self) -> None:
        package = _package_folder()
        model = package / "models" / "standard_v3_3"
        self.config = json.loads((model / "config.min.json").read_text())
        self.types = json.loads((package / "config" / "content_types_kb.min.json").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # replicas are the parallelism, and threads would not survive a fork
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(model / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def predict(self, content: bytes) -> Answer:
        """One file in one run, on purpose: with eight in a run an answer cost the same time, and its score moved by up
        to 0.008 with the other files in the run, enough to tip a label at its threshold."""
        row = self._features(content)
        if row is None:
            return self._answer(_short_label(content), 1.0)
        (scores,) = self.session.run(["target_label"], {"bytes": row[np.newaxis]})
        best = int(scores[0].argmax())
        return self._trusted(self.config["target_labels_space"][best], float(scores[0, best]))

    def _features(self, content: bytes) -> np.ndarray | None:
        """The bytes that the network sees: `beg_size` from the start of the first block and `end_size` from the end of
        the last, white space stripped, the rest filled with `padding_token`. None: too little to ask it."""
        config = self.config
        block, least, begins = config["block_size"], config["min_file_size_for_dl"], config["beg_size"]
        first = content[:block].lstrip()[:begins]
        last = content[-block:].rstrip()[-config["end_size"] :]
        if len(content) < least or len(first) < least:
            return None
        row = np.full(begins + config["end_size"], config["padding_token"], np.int32)
        row[: len(first)] = np.frombuffer(first, np.uint8)
        if last:
            row[-len(last) :] = np.frombuffer(last, np.uint8)
        return row

    def _trusted(self, guess: str, score: float) -> Answer:
        """Some types look alike and ask for more confidence; below it only "text" or "unknown" is claimed."""
        label = self.config["overwrite_map"].get(guess, guess)
        if score < self.config["thresholds"].get(guess, self.config["medium_confidence_threshold"]):
            label = "txt" if self.types[label]["is_text"] else "unknown"
        return self._answer(label, score, guess)

    def _answer(self, label: str, score: float, guess: str = "") -> Answer:
        known = self.types[label]
        return Answer(
            label=label,
            mime_type=known["mime_type"] or ("text/plain" if known["is_text"] else "application/octet-stream"),
            description=known["description"] or label,
            group=known["group"] or "unknown",
            score=score,
            guess=guess or label,
        )


def _short_label(content: bytes) -> str:
    """A few bytes are no evidence: only empty, text or unknown."""
    if not content:
        return "empty"
    try:
        content[:4096].decode()
    except UnicodeDecodeError:
        return "unknown"
    return "txt"


def _package_folder() -> Path:
    """Where magika is installed, without importing it."""
    spec = importlib.util.find_spec("magika")
    if spec is None or spec.origin is None:
        raise RuntimeError("magika is not installed: pip install -r requirements.txt")
    return Path(spec.origin).parent
