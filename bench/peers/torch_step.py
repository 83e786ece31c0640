"""The training step of step.ts in PyTorch."""
import math

import numpy as np
import torch
import torch.nn.functional as F


def uniform(seed, n):
    """The stream of a seed, as uniform() in transformer.ts."""
    mask = np.uint64(0xFFFFFFFF)
    i = np.arange(1, n + 1, dtype=np.uint64)
    a = (np.uint64(seed) + i * np.uint64(0x6D2B79F5)) & mask
    t = ((a ^ (a >> np.uint64(15))) * (a | np.uint64(1))) & mask
    t = t ^ ((t + (((t ^ (t >> np.uint64(7))) * (t | np.uint64(61))) & mask)) & mask)
    return ((t ^ (t >> np.uint64(14))) & mask).astype(np.float64) / 4294967296.0


def step(device, layers=2, width=128, heads=4, hidden=512, tokens=64, batch=32, vocabulary=256):
    """Every call is one step, the result is the loss."""
    shapes = [("tok", (vocabulary, width)), ("pos", (tokens, width))]
    for layer in range(layers):
        shapes += [(f"{layer}.{n}", s) for n, s in [
            ("ln1_g", (width,)), ("ln1_b", (width,)),
            ("Wq", (width, width)), ("bq", (width,)), ("Wk", (width, width)), ("bk", (width,)),
            ("Wv", (width, width)), ("bv", (width,)), ("Wo", (width, width)), ("bo", (width,)),
            ("ln2_g", (width,)), ("ln2_b", (width,)),
            ("W1", (width, hidden)), ("b1", (hidden,)), ("W2", (hidden, width)), ("b2", (width,))]]
    shapes += [("lnf_g", (width,)), ("lnf_b", (width,)), ("Wh", (width, vocabulary)), ("bh", (vocabulary,))]
    params = {}
    for i, (name, shape) in enumerate(shapes):
        if name.endswith("_g"):
            values = torch.ones(shape)
        elif len(shape) == 1:
            values = torch.zeros(shape)
        else:
            scale = 0.1 if name in ("tok", "pos") else 1 / math.sqrt(shape[0])
            values = torch.tensor((2 * uniform(1000 + i, shape[0] * shape[1]) - 1) * scale).view(shape)
        params[name] = values.float().to(device).requires_grad_(True)
    n = batch * tokens
    ids = torch.tensor((uniform(1, n) * vocabulary).astype("int64")).view(batch, tokens).to(device)
    targets = torch.tensor((uniform(2, n) * vocabulary).astype("int64")).to(device)

    def loss():
        x = (F.embedding(ids, params["tok"]) + params["pos"]).view(n, width)
        for layer in range(layers):
            p = lambda name: params[f"{layer}.{name}"]
            h = F.layer_norm(x, (width,), p("ln1_g"), p("ln1_b"))
            heads_of = lambda w, b: torch.addmm(p(b), h, p(w)).view(batch, tokens, heads, -1).transpose(1, 2)
            q, k, v = heads_of("Wq", "bq"), heads_of("Wk", "bk"), heads_of("Wv", "bv")
            a = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(width // heads), -1) @ v
            x = x + torch.addmm(p("bo"), a.transpose(1, 2).reshape(n, width), p("Wo"))
            h = F.layer_norm(x, (width,), p("ln2_g"), p("ln2_b"))
            h = F.gelu(torch.addmm(p("b1"), h, p("W1")), approximate="tanh")
            x = x + torch.addmm(p("b2"), h, p("W2"))
        x = F.layer_norm(x, (width,), params["lnf_g"], params["lnf_b"])
        return F.cross_entropy(torch.addmm(params["bh"], x, params["Wh"]), targets)

    optimizer = torch.optim.Adam(list(params.values()), lr=1e-3)

    def once():
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        return value.detach()

    return once
