import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { openReference } from "../backends/reference.ts";
import { use } from "../device.ts";
import { type Tensor, tensor } from "../tensor.ts";
import { add, div, mul, sub } from "../../ops/arithmetic.ts";
import { exp, sin, tanh } from "../../ops/math.ts";
import { sum } from "../../ops/reduce.ts";
import { cast } from "../../ops/cast.ts";
import { checkpoint, customVjp, grad, jvp, stopGradient, valueAndGrad, vjp } from "./vjp.ts";
import { jit } from "./jit.ts";

const reference = use(openReference({ fuses: true }));
const test = (name: string, body: () => Promise<void> | void) =>
  Deno.test(name, () => {
    use(reference);
    return body();
  });

const cube = (x: Tensor) => mul(mul(x, x), x);

test("the derivative of a derivative of a derivative is right", async () => {
  const x = tensor(1.5);
  assertAlmostEquals(await grad(cube)(x).item(), 6.75, 1e-6);
  assertAlmostEquals(await grad(grad(cube))(x).item(), 9, 1e-6);
  assertAlmostEquals(await grad(grad(grad(cube)))(x).item(), 6, 1e-6);
});

test("gradients of nested closures do not mix", async () => {
  const f = (x: Tensor) => mul(x, grad((y: Tensor) => mul(x, y))(tensor(2)));
  assertEquals(await grad(f)(tensor(3)).item(), 6); // d(x·x)/dx
});

test("a value used twice gets both cotangents", async () => {
  assertEquals(await grad((x: Tensor) => add(mul(x, x), x))(tensor(3)).item(), 7);
});

test("gradients come as trees like the parameters, zeros where nothing depends", async () => {
  const params = { a: tensor([1, 2]), b: [tensor(3)], count: tensor(new Int32Array([7])) };
  const [value, gradients] = valueAndGrad((p: typeof params) => sum(mul(p.a, p.a)))(params);
  assertEquals(await value.item(), 5);
  assertEquals(await gradients.a.toArray(), [2, 4]);
  assertEquals(await gradients.b[0]!.item(), 0);
  assertEquals([gradients.count.dtype, await gradients.count.item()], ["i32", 0]);
});

test("auxiliary results are passed through", async () => {
  const [[loss, aux], gradient] = valueAndGrad(
    (x: Tensor) => [sum(mul(x, x)), { doubled: mul(x, 2) }] as const,
    { hasAux: true },
  )(tensor([1, 2]));
  assertEquals(await loss.item(), 5);
  assertEquals(await aux.doubled.toArray(), [2, 4]);
  assertEquals(await gradient.toArray(), [2, 4]);
});

test("forward mode agrees with the analytic derivative, and nests in reverse mode", async () => {
  const f = (x: Tensor) => exp(sin(x));
  const [, dy] = jvp(f, [tensor(0.7)], [tensor(2)]);
  assertAlmostEquals(await dy.item(), 2 * Math.cos(0.7) * Math.exp(Math.sin(0.7)), 1e-6);
  const along = (x: Tensor) => jvp(f, [x], [tensor(1)])[1];
  const second = Math.exp(Math.sin(0.7)) * (Math.cos(0.7) ** 2 - Math.sin(0.7));
  assertAlmostEquals(await grad(along)(tensor(0.7)).item(), second, 1e-6);
});

test("vjp() refuses a cotangent of another structure", () => {
  const [, pullback] = vjp((x: Tensor) => ({ y: x }), tensor(1));
  assertThrows(
    () => pullback({ z: tensor(1) } as unknown as { y: Tensor }),
    TypeError,
    "structure",
  );
});

test("grad() refuses a result that is no scalar", () => {
  assertThrows(
    () => grad((x: Tensor) => mul(x, 2))(tensor([1, 2])),
    TypeError,
    "expected the function to return a floating-point scalar but found f32[2]",
  );
});

test("stopGradient() cuts the derivative", async () => {
  assertEquals(await grad((x: Tensor) => mul(stopGradient(x), x))(tensor(3)).item(), 3);
});

test("customVjp() replaces the gradient, also for several arguments in trees", async () => {
  const f = customVjp(
    (p: { a: Tensor }, b: Tensor) => mul(p.a, b),
    ([p, b], y, dy) => [{ a: mul(dy, mul(b, 10)) }, add(mul(dy, y), mul(p.a, 0))],
  );
  const [, pullback] = vjp(f, { a: tensor(3) }, tensor(4));
  const [da, db] = pullback(tensor(1));
  assertEquals([await da.a.item(), await db.item()], [40, 12]);
});

test("integers get no gradient and stop it", async () => {
  const f = (x: Tensor) => mul(cast(cast(x, "i32"), "f32"), x);
  assertEquals(await grad(f)(tensor(2.5)).item(), 2);
});

const layer = (x: Tensor) => tanh(div(exp(sin(x)), add(1, mul(x, x))));
const deep = (wrap: (f: (x: Tensor) => Tensor) => (x: Tensor) => Tensor) => (x: Tensor) => {
  for (let i = 0; i < 6; i++) {
    // A sum after every block keeps the blocks from fusing into one kernel.
    x = wrap((x) => {
      const y = layer(x);
      return add(y, div(sum(layer(add(y, 1))), 4096));
    })(x);
  }
  return sum(x);
};

test("a value that stands in the auxiliary tree as well is differentiated once", async () => {
  const f = valueAndGrad((x: Tensor) => {
    const value = mul(x, x);
    return [value, { value, x }] as const;
  }, { hasAux: true });
  assertEquals(await f(tensor(3))[1].item(), 6);
});

test("checkpoint() gives the same gradient with less memory", async () => {
  const x = tensor(Float32Array.from({ length: 4096 }, (_, i) => Math.sin(i)));
  const plain = jit(grad(deep((f) => f)));
  const remade = jit(grad(deep(checkpoint)));
  const [a, b] = [await plain(x).data(), await remade(x).data()];
  for (let i = 0; i < a.length; i += 97) assertAlmostEquals(a[i]!, b[i]!, 1e-6);
  const bytes = (plan: string) => Number(/(\d+) bytes of temporaries/.exec(plan)![1]);
  assert(
    bytes(remade.plan()) < bytes(plain.plan()),
    `${bytes(remade.plan())} bytes are not less than ${bytes(plain.plan())}`,
  );
});

test("checkpoint() sees tensors of its closure", async () => {
  const f = (w: Tensor) => checkpoint((x: Tensor) => mul(mul(x, w), w))(tensor(2));
  assertEquals(await grad(f)(tensor(3)).item(), 12);
  assertEquals(await grad((x: Tensor) => sub(f(x), x))(tensor(1)).item(), 3);
});
