"""Single ops in PyTorch, on the inputs of inputs.ts."""
import torch
import torch.nn.functional as F


def wave(n, seed, device):
    """The same numbers as wave() in inputs.ts: sin of a running phase, in double precision."""
    i = torch.arange(n, dtype=torch.float64)
    return torch.sin(i * 0.37 + (i * 0.011) * seed + seed).float().to(device)


def gemm(size, device, dtype="float32"):
    """A square matrix product."""
    a, b = (wave(size * size, seed, device).view(size, size).to(getattr(torch, dtype)) for seed in (1, 2))
    c = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=c)


def rows(op, device):
    """An op on the rows of [4096, 768]."""
    x = wave(4096 * 768, 1, device).view(4096, 768)
    w, b = wave(768, 2, device), wave(768, 3, device)
    if op == "gelu(x*w+b)":
        return lambda: F.gelu(x * w + b, approximate="tanh")
    if op == "softmax":
        return lambda: torch.softmax(x, -1)
    return lambda: F.layer_norm(x, (768,), w, b)


def attention(batch, heads, visible, width, device, dtype="float32"):
    """Attention and its gradients; row i sees visible[i] columns. The result is the gradient of q."""
    n = len(visible)
    q, k, v = (
        wave(batch * heads * n * width, seed, device)
        .view(batch, heads, n, width).to(getattr(torch, dtype)).requires_grad_(True)
        for seed in (1, 2, 3)
    )
    counts = torch.tensor(visible, device=device)
    mask = torch.arange(n, device=device) < counts[:, None]
    bias = torch.zeros(n, n, device=device, dtype=q.dtype).masked_fill(~mask, float("-inf"))

    def once():
        if hasattr(F, "scaled_dot_product_attention"):
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            out = torch.softmax(q @ k.transpose(-1, -2) * width**-0.5 + bias, -1) @ v
        return torch.autograd.grad(out.square().sum() / 2, (q, k, v))[0]

    return once
