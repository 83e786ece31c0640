"""PyTorch as a peer: one process that does a piece of work whenever it is told to.

    torch_peer.py THREADS DEVICE

Writes its version, then answers lines of JSON on standard input: {"case": NAME, ...settings} sets up
a case, does it "times" times (once by default) and answers with a sample of the results; a number does
it so many times and answers with the milliseconds of one.
Ends with status 3 where PyTorch or the device is missing.
"""
import json
import os
import sys
import time

try:
    import torch
except ImportError:
    sys.exit(3)

if sys.argv[2] == "cuda" and not torch.cuda.is_available():
    sys.exit(3)

import torch_fmt
import torch_ops
import torch_step

cases = {
    "gemm": torch_ops.gemm,
    "rows": torch_ops.rows,
    "attention": torch_ops.attention,
    "step": torch_step.step,
    "fmt sampling": torch_fmt.sampling,
    "fmt training": torch_fmt.training,
}


def main(threads, device):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to standard error
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    answer(answers, torch.__version__)
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, int):
            start = time.perf_counter()
            for _ in range(request):
                work()
            if device == "cuda":
                torch.cuda.synchronize()
            answer(answers, (time.perf_counter() - start) * 1e3 / request)
        else:
            times = request.pop("times", 1)
            work = cases[request.pop("case")](device=device, **request)
            result = torch.cat([work().detach().flatten() for _ in range(times)])
            answer(answers, result[:: max(1, result.numel() // 1000)][:1000].float().cpu().tolist())


def answer(file, value):
    print(json.dumps(value), file=file, flush=True)


main(int(sys.argv[1]), sys.argv[2])
