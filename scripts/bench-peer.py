"""The benchmark's peer: diffusers' UNet2DConditionModel with SD 1.5's shape and random weights.

`diffmine bench --peer PYTHON` starts it where that Python has torch and diffusers, and times both in turn in one run.
Speaks lines of JSON: {"precision": "fp32", "latent": 32, "batch": 2} in, {"seconds": 1.23} or {"error": "..."} out.
"""
import json
import sys
import time


def main():
    try:
        import diffusers
        import torch
    except Exception as error:  # not only ImportError: half-installed packages raise others
        print(json.dumps({"error": f"no diffusers: {error}"}), flush=True)
        return
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    if threads:
        torch.set_num_threads(threads)
    print(json.dumps({"torch": torch.__version__, "diffusers": diffusers.__version__, "threads": torch.get_num_threads()}), flush=True)
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    models = {}
    for line in sys.stdin:
        ask = json.loads(line)
        dtype = dtypes[ask["precision"]]
        if dtype not in models:
            models.clear()  # one model in memory at a time
            config = dict(cross_attention_dim=768, attention_head_dim=8, sample_size=64)
            models[dtype] = diffusers.UNet2DConditionModel(**config).eval().to(dtype).to(memory_format=torch.channels_last)
        n, size = ask["batch"], ask["latent"]
        x = torch.randn(n, 4, size, size, dtype=dtype).to(memory_format=torch.channels_last)
        text = torch.randn(n, 77, 768, dtype=dtype)
        with torch.inference_mode():
            start = time.perf_counter()
            models[dtype](x, torch.tensor(300), text).sample
            print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


main()
