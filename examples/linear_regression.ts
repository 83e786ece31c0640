/**
 * The smallest training loop: a linear model, AdamW, and the whole step as one compiled program.
 *
 *     deno run -A examples/linear_regression.ts
 */
import {
  adamw,
  add,
  jit,
  matmul,
  mean,
  normal,
  openDevice,
  randomKey,
  square,
  sub,
  valueAndGrad,
  zeros,
} from "../mod.ts";

const device = await openDevice();
console.log(`on ${device.name}: ${device.description}`);

// Data of a known model y = x·w + 0.5.
const x = normal(randomKey(0), [256, 4]); // [B, D]
const y = add(matmul(x, normal(randomKey(1), [4, 1])), 0.5); // [B, 1]

let params = { weight: zeros([4, 1]), bias: zeros([1]) };
let state = adamw.init(params);

const loss = (p: typeof params) => mean(square(sub(add(matmul(x, p.weight), p.bias), y)));

const step = jit((p: typeof params, s: typeof state) => {
  const [value, gradients] = valueAndGrad(loss)(p);
  return [value, ...adamw.update(p, gradients, s, { learningRate: 0.05 })] as const;
}, { donate: [0, 1] });

for (let i = 0; i <= 300; i++) {
  const [value, p, s] = step(params, state);
  [params, state] = [p, s];
  if (i % 100 === 0) console.log(`step ${i}  loss ${(await value.item()).toFixed(6)}`);
}
console.log("bias", await params.bias.toArray());
Deno.exit(0);
