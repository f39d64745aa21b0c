"""What a device does first: opens a model, asks it once, and prints the answer with the modules that took.

python first_answer.py MODEL
"""

import json
import sys

import numpy as np

before = set(sys.modules)

import edgert  # noqa: E402

with edgert.load(sys.argv[1]) as session:
    (logits,) = session.run(None, {"image": np.zeros((1, 1, 28, 28), np.float32)})
loaded = set(sys.modules) - before
foreign = sorted(name for name in loaded if name.split(".")[0] not in {*sys.stdlib_module_names, "numpy"})
print(json.dumps({"label": int(logits.argmax()), "home": edgert.__file__, "modules": foreign}))
