/**
 * The debugging tools on one small training step; `docs/debugging.md` shows what they print.
 *
 *     deno run -A examples/debugging.ts
 */
import {
  debugNans,
  gelu,
  graphOf,
  graphToDot,
  jit,
  linearCrossEntropy,
  log,
  matmul,
  mean,
  memoryReport,
  mul,
  normal,
  openDevice,
  planOf,
  profile,
  randomKey,
  showGraph,
  showKernels,
  showLive,
  showMemory,
  showPlan,
  showShapes,
  sub,
  type Tensor,
  tensor,
  traceShapes,
  treeMap,
  valueAndGrad,
  watchMemory,
} from "../mod.ts";

await openDevice();

type Params = { hidden: Tensor; head: Tensor };
let params: Params = {
  hidden: normal(randomKey(0), [256, 512]),
  head: normal(randomKey(1), [100, 512]),
};
const batch = (size: number) =>
  [
    tensor(new Float32Array(size * 256).map(Math.random), { shape: [size, 256] }),
    tensor(new Int32Array(size)),
  ] as const;

const loss = (p: Params, x: Tensor, targets: Tensor) =>
  mean(linearCrossEntropy(gelu(matmul(x, p.hidden)), p.head, targets));

const step = jit(function step(p: Params, x: Tensor, targets: Tensor) {
  const [value, gradients] = valueAndGrad(loss)(p, x, targets);
  const descend = (w: Tensor, g: Tensor) => sub(w, mul(g, 1e-3));
  return { value, params: treeMap(descend, p, gradients) };
}, { donate: [0] });

console.log("# Shapes");
console.log(showShapes(traceShapes(loss, params, ...batch(64))));

console.log("\n# Graph");
const graph = graphOf(loss, params, ...batch(64));
console.log(showGraph(graph));
await Deno.writeTextFile(await Deno.makeTempFile(), graphToDot(graph)); // for dot -Tsvg

console.log("# Plan");
const plan = planOf(step, [params, ...batch(64)], { donate: [0] });
console.log(showPlan(plan));

console.log("\n# Memory");
console.log(showMemory(memoryReport(plan)));

console.log("\n# Kernels");
const rows = await profile(async () => {
  for (let i = 0; i < 20; i++) ({ params } = step(params, ...batch(64)));
  await params.head.data();
});
console.log(showKernels(rows.filter(({ program }) => program === "step")));

console.log("\n# Compiled again");
({ params } = step(params, ...batch(65)));
console.log(step.retrace);

console.log("\n# Leaks");
const data = batch(64);
using watch = watchMemory();
const losses: Tensor[] = [];
for (let i = 0; i < 10; i++) {
  const result = step(params, ...data);
  params = result.params;
  losses.push(result.value); // should be read and dropped
  watch.nextStep();
}
console.log(showLive(watch.live(5)));

console.log("\n# First NaN");
const broken = (p: Params) => mean(log(p.head));
await debugNans(broken)(params).catch((error) => console.log(`${error}`));
Deno.exit(0);
