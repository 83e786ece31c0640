/** Ops composed of others: patterns, normalizations, rotary embedding, filters, by definition. */
import fc from "npm:fast-check@4.10.2";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import type { HostArray } from "../../lib/dtype.ts";
import { readSafetensors } from "../../lib/formats/safetensors.ts";
import { sizeOf } from "../../lib/shape.ts";
import { tensor } from "../../lib/tensor.ts";
import * as ops from "../../ops/mod.ts";
import { testOnDevices } from "../devices.ts";
import { at, indices, shapes, testOp, type Use } from "../ops_harness.ts";

const size = fc.integer({ min: 1, max: 4 });

/** A sum of products by brute force: over every value of every axis. */
function testEinsum(pattern: string): void {
  const [left, right] = pattern.split("->") as [string, string];
  const parts = left.split(",").map((part) => part.trim().split(/\s+/).filter(Boolean));
  const result = right.trim().split(/\s+/).filter(Boolean);
  const names = [...new Set(parts.flat())];
  const uses = fc.array(size, { minLength: names.length, maxLength: names.length }).map(
    (lengths): Use => {
      const shapeOf = (axes: string[]) => axes.map((name) => lengths[names.indexOf(name)]!);
      return {
        operands: parts.map((part) => ({ shape: shapeOf(part) })),
        apply: (...x) => ops.einsum(pattern, ...x),
        expected(...x) {
          const sums = new Float64Array(sizeOf(shapeOf(result)));
          for (const index of indices(lengths)) {
            const place = (axes: string[]) =>
              at(shapeOf(axes), axes.map((name) => index[names.indexOf(name)]!));
            sums[place(result)]! += parts.reduce((p, part, i) => p * x[i]![place(part)]!, 1);
          }
          return sums;
        },
      };
    },
  );
  testOp(`einsum "${pattern}"`, uses);
}

testEinsum("b i d, b j d -> b i j");
testEinsum("i j -> j i");
testEinsum("i j ->");
testEinsum("i, j -> j i");
testEinsum("b h i d, h d e -> b i h e");
testEinsum("i j, j k, k l -> i l");
testEinsum("i j k, j -> i");

testOp(
  "einsum with axes not named",
  fc.tuple(size, size, size, size).map(([b, i, j, k]): Use => ({
    operands: [{ shape: [b, i, j] }, { shape: [1, j, k] }],
    apply: (x, y) => ops.einsum("... i j, ... j k -> ... k i", x!, y!),
    expected: (x, y) =>
      Array.from(indices([b, k, i]), ([bi, ki, ii]) => {
        let sum = 0;
        for (let c = 0; c < j; c++) {
          sum += x[at([b, i, j], [bi!, ii!, c])]! * y[at([j, k], [c, ki!])]!;
        }
        return sum;
      }),
  })),
);

/** Normalized lists, scaled and shifted. */
function normalized(x: HostArray, groups: number, epsilon: number, center: boolean): number[] {
  const length = x.length / groups;
  return Array.from(x, (value, i) => {
    const start = Math.floor(i / length) * length;
    const list = Array.from(x.subarray(start, start + length));
    const mean = center ? list.reduce((a, b) => a + b, 0) / length : 0;
    const variance = list.reduce((sum, y) => sum + (y - mean) ** 2, 0) / length;
    return (value - mean) / Math.sqrt(variance + epsilon);
  });
}

testOp(
  "layerNorm",
  shapes(1, 3).map((shape): Use => {
    const width = shape.at(-1)!;
    return {
      operands: [{ shape }, { shape: [width] }, { shape: [width] }],
      apply: (x, weight, bias) => ops.layerNorm(x!, weight, bias, 0.1),
      expected: (x, weight, bias) =>
        normalized(x, x.length / width, 0.1, true).map((value, i) =>
          value * weight[i % width]! + bias[i % width]!
        ),
    };
  }),
);

testOp(
  "rmsNorm",
  shapes(1, 3).map((shape): Use => {
    const width = shape.at(-1)!;
    return {
      operands: [{ shape }, { shape: [width] }],
      apply: (x, weight) => ops.rmsNorm(x!, weight, 0.1),
      expected: (x, weight) =>
        normalized(x, x.length / width, 0.1, false).map((value, i) => value * weight[i % width]!),
    };
  }),
);

testOp(
  "groupNorm",
  fc.tuple(size, size, size, shapes(0, 2)).map(([batch, groups, each, rest]): Use => {
    const channels = groups * each, pixels = sizeOf(rest);
    return {
      operands: [
        { shape: [batch, channels, ...rest] },
        { shape: [channels] },
        { shape: [channels] },
      ],
      apply: (x, weight, bias) => ops.groupNorm(x!, groups, weight, bias, 0.1),
      expected: (x, weight, bias) =>
        normalized(x, batch * groups, 0.1, true).map((value, i) => {
          const channel = Math.floor(i / pixels) % channels;
          return value * weight[channel]! + bias[channel]!;
        }),
    };
  }),
);

testOp(
  "rotary2d",
  fc.tuple(shapes(0, 2), size, size).map(([batch, rows, pairs]): Use => {
    const shape = [...batch, rows, 2 * pairs], table = [rows, pairs];
    return {
      operands: [{ shape }, { shape: table }, { shape: table }],
      apply: (x, cos, sin) => ops.rotary2d(x!, cos!, sin!),
      expected: (x, cos, sin) =>
        Array.from(x, (value, i) => {
          const pair = at(table, [Math.floor(i / (2 * pairs)) % rows, (i % (2 * pairs)) >> 1]);
          return i % 2 === 0
            ? value * cos[pair]! - x[i + 1]! * sin[pair]!
            : value * cos[pair]! + x[i - 1]! * sin[pair]!;
        }),
    };
  }),
);

testOp(
  "oneHot",
  fc.tuple(shapes(0, 2), size).map(([shape, count]): Use => ({
    operands: [{ shape, dtype: "i32", low: -1, high: count + 1 }],
    apply: (ids) => ops.oneHot(ids!, count),
    expected: (ids) =>
      Array.from(ids).flatMap((id) => Array.from({ length: count }, (_, i) => +(i === id))),
  })),
);

const fixtures = new URL("../fixtures/", import.meta.url);

Deno.test("rotaryTable gives the stored cosines and sines", async () => {
  const { tensors } = await readSafetensors(new URL("fmt/rope_tables.safetensors", fixtures));
  for (const [name, { data }] of Object.entries(tensors)) {
    const [, height, width, headWidth, base, part] = name.match(
      /^(\d+)x(\d+)_hd(\d+)_base(\d+)\.(cos|sin)$/,
    )!;
    const table = ops.rotaryTable(+height!, +width!, +headWidth!, +base!);
    const found = await table[part as "cos" | "sin"].data();
    for (const [i, x] of found.entries()) assertAlmostEquals(x, Number(data[i]), 1e-6, name);
  }
});

testOnDevices("filterLogits keeps what LlamaGen keeps", async () => {
  const folder = new URL("llamagen_filter/", fixtures);
  const { cases } = JSON.parse(await Deno.readTextFile(new URL("config.json", folder)));
  const { tensors } = await readSafetensors(new URL("io.safetensors", folder));
  const { shape, data } = tensors.logits!;
  for (const { name, temperature, top_k: topK, top_p: topP } of cases) {
    const logits = tensor(data as Float32Array, { shape });
    const kept = ops.filterLogits(logits, { temperature, topK, topP });
    const isKept = await ops.isFinite(kept).data();
    assertEquals(Array.from(isKept), Array.from(tensors[`${name}.kept`]!.data, Number), name);
    const probabilities = await ops.softmax(kept).data();
    const expected = tensors[`${name}.probs`]!.data;
    for (const [i, p] of probabilities.entries()) {
      assertAlmostEquals(p, Number(expected[i]), 1e-6, name);
    }
  }
});
