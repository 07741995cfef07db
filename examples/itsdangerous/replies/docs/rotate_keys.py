"""Rotate the keys in a JSON file."""

import json
import sys
from pathlib import Path

from itsdangerous import rotate_keys

path = Path(sys.argv[1])
path.write_text(json.dumps(rotate_keys(json.loads(path.read_text()))))
