"""The benchmark's baseline: diffusers' UNet2DConditionModel with random weights, channels_last, eager or compiled.

`diffmine bench --diffusers PYTHON` starts it where that Python has torch and diffusers, and times both in turn in one run.
Speaks lines of JSON. In:  {"dtype": "fp16", "input": [4, 64, 64], "batch": 64, "mode": "eager" or a mode of torch.compile,
"device": "cuda", "config": {arguments of UNet2DConditionModel}}. Out: {"seconds": 1.23}, or {"error": "why not"}.
A pass is timed with the device idle before and after; a mode's first pass of a shape compiles, and is for the caller to leave out.
"""
import gc
import json
import os
import sys
import time


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what compilers print on stdout is no answer

    def answer(value):
        answers.write(json.dumps(value) + "\n")

    try:
        import diffusers
        import torch
    except Exception as error:  # not only ImportError: half-installed packages raise others
        answer({"error": f"no diffusers: {error}"})
        return
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    if threads:
        torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True  # as ours: the fastest algorithm of each shape
    torch.backends.cuda.matmul.allow_tf32 = False  # and fp32 means fp32
    torch.backends.cudnn.allow_tf32 = False
    answer({"torch": torch.__version__, "diffusers": diffusers.__version__, "threads": torch.get_num_threads()})
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    held = {"key": None, "model": None, "compiled": {}}

    def model(ask):
        key = json.dumps([ask["dtype"], ask["device"], ask["config"]], sort_keys=True)
        if held["key"] != key:  # one model in memory at a time
            held.update(key=None, model=None, compiled={})
            if "torch._dynamo" in sys.modules:
                torch._dynamo.reset()  # graphs of the former model
            gc.collect()
            if ask["device"].startswith("cuda"):
                torch.cuda.empty_cache()
            built = diffusers.UNet2DConditionModel(**ask["config"]).eval().requires_grad_(False)
            held.update(key=key, model=built.to(ask["device"], dtypes[ask["dtype"]]).to(memory_format=torch.channels_last))
        if ask["mode"] == "eager":
            return held["model"]
        if ask["mode"] not in held["compiled"]:
            from torch._dynamo import config as dynamo

            for limit in ("recompile_limit", "cache_size_limit"):  # beyond 8 shapes it would silently continue uncompiled
                if hasattr(dynamo, limit):
                    setattr(dynamo, limit, 128)
            held["compiled"][ask["mode"]] = torch.compile(held["model"], mode=ask["mode"], dynamic=False)
        return held["compiled"][ask["mode"]]

    def forward(ask):
        device, dtype = torch.device(ask["device"]), dtypes[ask["dtype"]]
        wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
        unet = model(ask)
        n = ask["batch"]
        x = torch.randn(n, *ask["input"], device=device, dtype=dtype).to(memory_format=torch.channels_last)
        arguments = {"encoder_hidden_states": torch.randn(n, 77, ask["config"]["cross_attention_dim"], device=device, dtype=dtype)}
        if ask["config"].get("num_class_embeds"):
            arguments["class_labels"] = torch.arange(n, device=device) % ask["config"]["num_class_embeds"]
        t = torch.tensor(300, device=device)
        wait()
        start = time.perf_counter()
        with torch.inference_mode():
            unet(x, t, **arguments).sample
        wait()
        return time.perf_counter() - start

    for line in sys.stdin:
        try:
            answer({"seconds": forward(json.loads(line))})
        except torch.cuda.OutOfMemoryError:
            held.update(key=None, model=None, compiled={})
            answer({"error": "it ran out of memory"})
        except Exception as error:  # no compiler, an operator that does not compile: reported, and the others continue
            answer({"error": (str(error).strip().splitlines() or [type(error).__name__])[0][:300]})


main()
