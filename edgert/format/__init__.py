"""The `.edge` file: one model, validated before it is believed (docs/format.md has the numbered rules).

The reader, the writer and the objects they exchange live here; what a graph computes does not.
"""

from edgert.format.model import LanguageInfo, Model, ModelInfo, Preprocessing, StoredTensor
from edgert.format.reader import read_model
from edgert.format.writer import write_model

__all__ = ["LanguageInfo", "Model", "ModelInfo", "Preprocessing", "StoredTensor", "read_model", "write_model"]
