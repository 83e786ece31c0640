"""The Fully Masked Transformer in PyTorch: cached greedy sampling, and a training step.

Settings are those of the project's configuration of the model, as JSON. The weights come from a
safetensors file under the same names.
"""
import json

import numpy as np
import torch
import torch.nn.functional as F


def read_safetensors(path, device):
    """f32 tensors by name."""
    with open(path, "rb") as file:
        length = int(np.frombuffer(file.read(8), dtype="<u8")[0])
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    return {
        name: torch.frombuffer(data, dtype=torch.float32, offset=entry["data_offsets"][0],
                               count=int(np.prod(entry["shape"]))).view(entry["shape"]).clone().to(device)
        for name, entry in header.items()
    }


class Tables:
    """What depends on positions: rotary cosines and sines, and what is added to the queries."""

    def __init__(self, model, weights, device):
        height, width = model["grid"]["height"], model["grid"]["width"]
        row, column = (x.reshape(-1, 1).astype(np.float64) for x in np.mgrid[:height, :width])
        quarter = model["dim"] // model["heads"] // 4
        speed = model["ropeBase"] ** (-np.arange(quarter) / quarter)
        angles = np.concatenate([row * speed, column * speed], 1)
        angles = np.concatenate([angles, np.zeros((1, 2 * quarter))])  # the condition is not turned
        to_device = lambda x: torch.tensor(x, dtype=torch.float32).to(device)
        self.cos, self.sin = to_device(np.cos(angles)), to_device(np.sin(angles))
        self.cos[-1] *= model["classRope"] == "identity"
        if model["queryPosition"] == "learned":
            self.queries = weights["pos_embedding.weight"]
            return
        quarter = model["dim"] // 4
        speed = 10000.0 ** (-np.arange(quarter) / quarter)
        parts = [f(place * speed) for place in (row, column) for f in (np.sin, np.cos)]
        amplitude = 2**0.5 * model["queryPositionScale"] * model["initScale"]
        amplitude *= model["queryPosition"] == "sincos"
        self.queries = to_device(amplitude * np.concatenate(parts, 1))

    def rotation(self, positions):
        """Cosines and sines [1 or B, 1, n, D/2] of grid indices [1 or B, n]."""
        return self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)


def rotate(x, rotation):
    cos, sin = rotation
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)


class Network:
    def __init__(self, model, weights):
        self.model, self.weights = model, weights

    def norm(self, name, x):
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.model["normEpsilon"])
        return x * scale * self.weights[f"{name}.weight"]

    def linear(self, name, x):
        return F.linear(x, self.weights[f"{name}.weight"])

    def heads(self, name, x, parts):
        """[B, n, d] to `parts` tensors [B, H, n, D]."""
        batch, n, _ = x.shape
        y = self.linear(name, x).view(batch, n, parts, self.model["heads"], -1)
        return y.permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, name, q, k, v, bias):
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias
        out = torch.softmax(scores, -1) @ v
        return self.linear(f"{name}.wo", out.transpose(1, 2).flatten(-2))

    def attend_self(self, layer, x, rotation, bias, remember):
        q, k, v = self.heads(f"{layer}.attention.wqkv", self.norm(f"{layer}.attention_norm", x), 3)
        k, v = remember(layer, rotate(k, rotation), v)
        return x + self.attend(f"{layer}.attention", rotate(q, rotation), k, v, bias)

    def feed_forward(self, layer, x):
        h, name = self.norm(f"{layer}.ffn_norm", x), f"{layer}.feed_forward"
        return x + self.linear(f"{name}.w2", F.silu(self.linear(f"{name}.w1", h)) * self.linear(f"{name}.w3", h))

    def encode(self, x, rotation, bias=None, remember=lambda name, k, v: (k, v)):
        for i in range(self.model["encoderLayers"]):
            layer = f"encoder.{i}"
            x = self.attend_self(layer, x, rotation, bias, remember)
            x = self.feed_forward(layer, x)
        return self.norm("encoder_norm", x) if self.model["encoderFinalNorm"] else x

    def decode(self, x, memory, rotation, memory_rotation, bias=None, cross_bias=None,
               remember=lambda name, k, v: (k, v)):
        """Logits of queries."""
        for i in range(self.model["decoderLayers"]):
            layer = f"decoder.{i}"
            x = self.attend_self(layer, x, rotation, bias, remember)
            name = f"{layer}.cross_attention"
            k, v = self.heads(f"{name}.wkv", memory, 2)
            k, v = remember(name, rotate(k, memory_rotation), v)
            q, = self.heads(f"{name}.wq", self.norm(f"{layer}.cross_norm", x), 1)
            x = x + self.attend(name, rotate(q, rotation), k, v, cross_bias)
            x = self.feed_forward(layer, x)
        return self.linear("output", self.norm("norm", x))

    def embed(self, tokens):
        return F.embedding(tokens, self.weights["tok_embeddings.weight"])

    def condition(self, labels):
        return F.embedding(labels, self.weights["cls_embedding.embedding_table.weight"]).unsqueeze(1)


class Cache:
    """Keys and values by layer, written where there is room prepared for all tokens."""

    def __init__(self, tokens):
        self.tokens, self.parts = tokens, {}

    def __call__(self, name, k, v):
        batch, heads, n, width = k.shape
        if name not in self.parts:
            make = lambda: k.new_empty(batch, heads, self.tokens + 1, width)
            self.parts[name] = [make(), make(), 0]
        keys, values, start = self.parts[name]
        end = start + n
        keys[:, :, start:end], values[:, :, start:end] = k, v
        self.parts[name][2] = end
        return keys[:, :, :end], values[:, :, :end]


def sampling(model, weights, labels, order, intervals, guidance, device, dtype="float32"):
    """Greedy sampling with guidance, one order for all images; the result is the tokens by grid index."""
    dtype = getattr(torch, dtype)
    weights = {k: v.to(dtype) for k, v in read_safetensors(weights, device).items()}
    tables, network = Tables(model, weights, device), Network(model, weights)
    images, n = len(labels), len(order)
    order = torch.tensor(order, device=device)
    guided = guidance != 1
    labels = torch.tensor(labels + [model["classes"]] * images * guided, device=device)
    condition_place = torch.tensor([[n]], device=device)

    @torch.no_grad()
    def once():
        cache = Cache(n)
        found = torch.zeros(images, n, dtype=torch.int64, device=device)
        x, places, start = network.condition(labels), condition_place, 0
        for size in intervals:
            # Caches are as long as what may be seen, so nothing has to be masked.
            memory_rotation = [t.to(dtype) for t in tables.rotation(places)]
            memory = network.encode(x, memory_rotation, remember=cache)
            places = order[None, start:start + size]
            queries = (tables.queries[places] + weights["mask_embedding"]).to(dtype)
            rotation = [t.to(dtype) for t in tables.rotation(places)]
            logits = network.decode(queries.expand(len(labels), -1, -1), memory, rotation, memory_rotation,
                                    remember=cache)
            if guided:
                conditional, unconditional = logits.chunk(2)
                logits = unconditional + (conditional - unconditional) * guidance
            tokens = logits.argmax(-1)
            found[:, places[0]] = tokens
            x = network.embed(torch.cat([tokens, tokens]) if guided else tokens)
            start += size
        return found

    return once


def training(model, weights, inputs, settings, device, dtype="float32"):
    """A training step: clipped gradients, AdamW. Every call is one step, the result is the loss.

    Inputs are those of fmtInputs: arrays of whole numbers, with one row for each image or one for all.
    With another dtype the products run in it (autocast); weights and AdamW stay f32.
    """
    params = {name: x.requires_grad_(True) for name, x in read_safetensors(weights, device).items()}
    tables, network = Tables(model, params, device), Network(model, params)
    n = model["grid"]["height"] * model["grid"]["width"]
    given = {name: torch.tensor(x, device=device) for name, x in inputs.items()}
    labels, tokens, positions, targets = (given[x] for x in ("labels", "tokens", "positions", "targets"))
    places = torch.cat([torch.full_like(positions[:, :1], n), positions[:, :tokens.shape[1]]], 1)

    def bias_of(name, columns):
        sees = torch.arange(columns, device=device) < given[name].unsqueeze(-1)
        return torch.zeros(sees.shape, device=device).masked_fill(~sees, float("-inf")).unsqueeze(1)

    encoder_bias = bias_of("encoderVisible", 1 + tokens.shape[1])
    decoder_bias = bias_of("decoderVisible", n)
    cross_bias = bias_of("crossVisible", 1 + tokens.shape[1])
    rotation, memory_rotation = tables.rotation(positions), tables.rotation(places)
    weight = given["lossWeight"].float()
    decayed = [x for x in params.values() if x.dim() > 1]
    others = [x for x in params.values() if x.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings["weightDecay"]}, {"params": others, "weight_decay": 0}],
        lr=settings["learningRate"], betas=(settings["beta1"], settings["beta2"]), eps=settings["epsilon"])

    def loss():
        x = torch.cat([network.condition(labels), network.embed(tokens)], 1)
        memory = network.encode(x, memory_rotation, encoder_bias)
        queries = tables.queries[positions] + params["mask_embedding"]
        logits = network.decode(queries.expand(len(labels), -1, -1), memory, rotation, memory_rotation,
                                decoder_bias, cross_bias)
        each = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none").view(-1, n)
        return (each * weight).sum() / (weight.sum() * len(labels))

    def once():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype != "float32"):
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(params.values(), settings["clip"])
        optimizer.step()
        return value.detach()

    return once
