import { assertEquals } from "@std/assert";
import {
  add,
  attention,
  type DType,
  placeholder,
  planOf,
  reshape,
  type Tensor,
  transpose,
} from "../../mod.ts";
import { use } from "../../lib/device.ts";
import type { KernelSpec, WgslDispatch } from "../../lib/op.ts";
import { rowMajorStrides } from "../../lib/shape.ts";
import {
  assertClose,
  type HostTensor,
  noise,
  onReference,
  runKernel,
  runPlanWith,
  tensorOf,
  type ViewedTensor,
  webgpuTest,
} from "../../lib/backends/webgpu/testing.ts";
import {
  attentionGradientScratch,
  attentionGradientWgsl,
  attentionScratch,
  attentionWgsl,
} from "./wgsl.ts";

/** Heads and positions are the other way round in memory, as a model's projections leave them. */
function projected(shape: readonly [number, number, number, number], seed: number): ViewedTensor {
  const [batch, heads, rows, width] = shape;
  const strides = rowMajorStrides([batch, rows, heads, width]);
  const view = [strides[0]!, strides[2]!, strides[1]!, strides[3]!];
  const tensor = tensorOf("f32", shape, noise(seed));
  return { ...tensor, view: { shape, dtype: "f32", strides: view, offset: 0 } };
}

/** Attention and its gradients by the definition, in double precision. */
function attend(
  q: ViewedTensor,
  k: ViewedTensor,
  v: ViewedTensor,
  visible: HostTensor,
  scale: number,
  dout: ViewedTensor,
) {
  const [batch, heads, queries, width] = q.shape as [number, number, number, number];
  const keys = k.shape[2]!;
  const at = ({ data, view }: ViewedTensor, ...index: number[]) =>
    data[index.reduce((sum, i, axis) => sum + i * view!.strides[axis]!, 0)]!;
  const out = new Float64Array(batch * heads * queries * width);
  const logsumexp = new Float64Array(batch * heads * queries);
  const [dq, dk, dv] = [queries, keys, keys].map((n) =>
    new Float64Array(batch * heads * n * width)
  ) as [Float64Array, Float64Array, Float64Array];
  const range = Array.from({ length: width }, (_, d) => d);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queries; i++) {
        const seen = visible.data[(visible.shape[0] === 1 ? 0 : b) * queries + i]!;
        const row = (b * heads + h) * queries + i;
        const scores = Array.from(
          { length: seen },
          (_, j) =>
            scale * range.reduce((sum, d) => sum + at(q, b, h, i, d) * at(k, b, h, j, d), 0),
        );
        const sum = scores.reduce((total, s) => total + Math.exp(s), 0);
        logsumexp[row] = Math.log(sum);
        const weights = scores.map((s) => Math.exp(s) / sum);
        weights.forEach((p, j) =>
          range.forEach((d) => out[row * width + d]! += p * at(v, b, h, j, d))
        );
        const delta = range.reduce((t, d) => t + at(dout, b, h, i, d) * out[row * width + d]!, 0);
        weights.forEach((p, j) => {
          const key = ((b * heads + h) * keys + j) * width;
          const dp = range.reduce((t, d) => t + at(dout, b, h, i, d) * at(v, b, h, j, d), 0);
          for (const d of range) {
            const ds = p * (dp - delta) * scale;
            dv[key + d]! += p * at(dout, b, h, i, d);
            dq[row * width + d]! += ds * at(k, b, h, j, d);
            dk[key + d]! += ds * at(q, b, h, i, d);
          }
        });
      }
    }
  }
  return { out, logsumexp, dq, dk, dv };
}

/** The second case runs what hardware adapters get. */
const cases = [
  { batch: 2, heads: 3, queries: 70, keys: 70, width: 8, perBatch: false, software: true },
  { batch: 2, heads: 2, queries: 5, keys: 90, width: 6, perBatch: true, software: false },
  { batch: 1, heads: 1, queries: 1, keys: 1, width: 4, perBatch: false, software: true },
];

for (const { batch, heads, queries, keys, width, perBatch, software } of cases) {
  webgpuTest(
    `attention and its gradients: ${queries} queries on ${keys} keys of width ${width}`,
    async (backend) => {
      const q = projected([batch, heads, queries, width], 1);
      const k = projected([batch, heads, keys, width], 2);
      const v = projected([batch, heads, keys, width], 3);
      const dout = projected([batch, heads, queries, width], 4);
      const draw = noise(5);
      const visible = tensorOf(
        "i32",
        [perBatch ? batch : 1, queries],
        (i) => keys === 1 ? 1 : Math.floor(Math.abs(draw(i)) * (keys + 1)),
      );
      const scale = width ** -0.5;
      const wanted = attend(q, k, v, visible, scale, dout);
      const row = { shape: [batch, heads, queries, width], dtype: "f32" as const };
      const key = { shape: [batch, heads, keys, width], dtype: "f32" as const };
      const scalar = { shape: [batch, heads, queries], dtype: "f32" as const };

      const [out, logsumexp] = await runKernel(
        backend,
        {
          wgsl: (spec, target) => attentionWgsl(spec, { ...target, software }),
        },
        [q, k, v, visible],
        [row, scalar],
        { scale },
      );
      assertClose(out!, wanted.out, 1e-5, "out");
      assertClose(logsumexp!, wanted.logsumexp, 1e-5, "logsumexp");
      const gradients = await runKernel(
        backend,
        {
          wgsl: (spec, target) => attentionGradientWgsl(spec, { ...target, software }),
          scratch: attentionGradientScratch,
        },
        [q, k, v, visible, { ...row, data: out! }, { ...scalar, data: logsumexp! }, dout],
        [row, key, key],
        { scale },
      );
      [wanted.dq, wanted.dk, wanted.dv].forEach((gradient, n) =>
        assertClose(gradients[n]!, gradient, 1e-5, ["dq", "dk", "dv"][n])
      );
    },
  );
}

const parted = [
  { queries: 3, keys: 800, width: 6, workgroups: { attention: 12, "attention of parts": 1 } },
  { queries: 33, keys: 300, width: 4, workgroups: { attention: 4, "attention of parts": 2 } },
];

for (const { queries, keys, width, workgroups } of parted) {
  webgpuTest(
    `on GPUs, workgroups share ${keys} keys of ${queries} queries, which may see none of a part`,
    async (backend) => {
      const q = projected([2, 1, queries, width], 1), k = projected([2, 1, keys, width], 2);
      const v = projected([2, 1, keys, width], 3);
      const seen = (i: number) => i < queries ? 0 : [1, keys, 290][i % 3]!;
      const visible = tensorOf("i32", [2, queries], seen);
      const wanted = attend(q, k, v, visible, 1, q);
      const found: Record<string, number> = {};
      const [out, logsumexp] = await runKernel(
        backend,
        {
          wgsl(spec, target) {
            const dispatches = attentionWgsl(spec, { ...target, software: false });
            for (const { name, workgroups } of dispatches) found[name] = workgroups[0];
            return dispatches;
          },
          scratch: attentionScratch,
        },
        [q, k, v, visible],
        [
          { shape: [2, 1, queries, width], dtype: "f32" },
          { shape: [2, 1, queries], dtype: "f32" },
        ],
        { scale: 1 },
      );
      assertEquals(found, workgroups);
      assertClose(out!, wanted.out, 1e-5, "out");
      assertClose(logsumexp!, wanted.logsumexp, 1e-5, "logsumexp");
      assertEquals(logsumexp![0], -Infinity);
    },
  );
}

webgpuTest(
  "blocks that no row sees are skipped, so that a block-causal mask costs half",
  async (backend) => {
    // Eight sets of 32 rows: a workgroup of 64 rows sees 64 columns more than the one before.
    const [tokens, width, set] = [256, 8, 32];
    const shape = [1, 1, tokens, width] as const;
    const [q, k, v, dout] = [1, 2, 3, 4].map((seed) => projected(shape, seed)) as [
      ViewedTensor,
      ViewedTensor,
      ViewedTensor,
      ViewedTensor,
    ];
    const scalar = { shape: [1, 1, tokens], dtype: "f32" as const };
    const row = { shape, dtype: "f32" as const };
    const blocksOf = async (visibleTo: (row: number) => number) => {
      const visible = tensorOf("i32", [1, tokens], visibleTo);
      const count = tensorOf("u32", [1], () => 0);
      /** Adds an output 0, which is the last input at first, where every filled tile is counted. */
      const counted = (dispatches: readonly WgslDispatch[]) =>
        dispatches.map(({ code, bindings, ...dispatch }) => ({
          ...dispatch,
          code: `@group(0) @binding(${bindings.length}) var<storage, read_write> blocks: ` +
            `array<atomic<u32>>;\n` +
            code.replaceAll("// a block", "if (local == 0) { atomicAdd(&blocks[0], 1u); }"),
          bindings: [
            ...bindings.map((binding) =>
              binding.operand === "output" ? { ...binding, index: binding.index + 1 } : binding
            ),
            { operand: "output", index: 0, access: "read_write" } as const,
          ],
        }));
      const behind = (spec: KernelSpec) => ({ ...spec, outputs: spec.outputs.slice(1) });
      const [forward, out, logsumexp] = await runKernel(
        backend,
        {
          inPlace: 4,
          wgsl: (spec, target) => counted(attentionWgsl(behind(spec), target)),
          scratch: attentionScratch,
        },
        [q, k, v, visible, count],
        [count, row, scalar],
        { scale: 1 },
      );
      const [backward] = await runKernel(
        backend,
        {
          inPlace: 7,
          wgsl: (spec, target) => counted(attentionGradientWgsl(behind(spec), target)),
          scratch: attentionGradientScratch,
        },
        [
          q,
          k,
          v,
          visible,
          { ...row, data: out! },
          { ...scalar, data: logsumexp! },
          dout,
          count,
        ],
        [count, row, row, row],
        { scale: 1 },
      );
      return [forward![0]!, backward![0]!];
    };
    const [full, fullBackward] = await blocksOf(() => tokens) as [number, number];
    const [causal, causalBackward] = await blocksOf((row) => set * (Math.floor(row / set) + 1)) as [
      number,
      number,
    ];
    assertEquals(causal / full, 5 / 8);
    assertEquals(causalBackward / fullBackward, 5 / 8);
  },
);

/** What models do with attention: turned heads are taken in as they lie, and united at the end. */
function unitedHeads(...[q, k, v, residual, visible]: Tensor[]): Tensor[] {
  const heads = (x: Tensor) => transpose(x, [0, 2, 1, 3]);
  const seen = attention(heads(q!), k!, v!, { visible: visible! });
  return [add(reshape(heads(seen), residual!.shape), residual!)];
}

const endings: { dtype: DType; width: number; software: boolean }[] = [
  { dtype: "f32", width: 8, software: true },
  { dtype: "f32", width: 6, software: false },
  { dtype: "f16", width: 8, software: true },
];

for (const { dtype, width, software } of endings) {
  const name = `${dtype}, heads of ${width}${software ? ", on a software adapter" : ""}`;
  webgpuTest(
    `attention ends with the union of its heads and a residual: ${name}`,
    async (backend) => {
      if (dtype === "f16" && !backend.features.f16) return;
      const [batch, heads, queries, keys] = [2, 3, 5, 300];
      const given = [
        [batch, queries, heads, width],
        [batch, heads, keys, width],
        [batch, heads, keys, width],
        [batch, queries, heads * width],
      ].map((shape, i) => tensorOf(dtype, shape, noise(i + 1)));
      given.push(tensorOf("i32", [batch, queries], (i) => 35 * i));
      const [wanted] = await onReference(unitedHeads, given);
      use(backend);
      const plan = planOf(unitedHeads, given.map(({ shape, dtype }) => placeholder(shape, dtype)));
      const [found] = await runPlanWith(
        backend,
        plan,
        given,
        (spec, target) => attentionWgsl(spec, { ...target, software }),
      );
      assertClose(found!, wanted!, dtype === "f32" ? 1e-5 : 4e-3);
    },
  );
}
