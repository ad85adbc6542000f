"""The other contestant: the model library's forward pass over padded batches of eight responses in the order of the data, all logits.

python run_plain.py WORKLOAD MODEL OUT --pass conditional --dtype float32
"""

import json
import resource
import time

import torch
from passes import parse_arguments, read_items
from torch.nn.utils.rnn import pad_sequence

from bdpo_pipeline.models.loading import load_model

_RESPONSES = 8


def main() -> None:
    options = parse_arguments(__doc__)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    items = read_items(options)
    model = load_model(options.model, dtype=options.dtype).to(device)
    logps: list[float] = []
    places = 0
    start, start_cpu = time.monotonic(), time.process_time()
    with torch.inference_mode():
        for first in range(0, len(items), _RESPONSES):
            part = items[first : first + _RESPONSES]
            wholes = [torch.tensor(context + response) for context, response in part]
            ids = pad_sequence(wholes, batch_first=True).to(device)
            place = torch.arange(ids.shape[1], device=device)
            ends = torch.tensor([len(whole) for whole in wholes], device=device)[:, None]
            starts = torch.tensor([len(context) for context, _ in part], device=device)[:, None]
            logits = model(input_ids=ids, attention_mask=(place < ends).long()).logits[:, :-1]
            tokens = logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
            logps += (tokens * ((place[1:] >= starts) & (place[1:] < ends))).sum(1).tolist()
            places += ids.numel()
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - start_cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if options.device == "cuda" else memory,
        "at_once": f"{_RESPONSES} responses",
        "places": places,
        "logps": logps,
    }
    options.out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
