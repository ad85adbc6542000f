"""Reads one preference source and prints what became of it, with the most memory that this took: here, and in the reader of Parquet.

python benchmarks/fuzzing/one.py FILE FORMAT
"""

import json
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzzing.judge import judge_preferences

if __name__ == "__main__":
    outcome = judge_preferences(Path(sys.argv[1]), sys.argv[2])
    # Not ru_maxrss, which begins with that of the process that started this one.
    own = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    reader = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    said = {"how": outcome.how, "rows": outcome.rows, "message": outcome.message}
    print(json.dumps({**said, "peak_bytes": own, "reader_peak_bytes": reader}))
