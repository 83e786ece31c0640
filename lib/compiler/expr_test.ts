import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { affine, type Expr, ExprBuilder } from "./expr.ts";
import { scalarOps } from "./scalar_ops.ts";

/** A random index computation, as data, so that it can be evaluated without the builder. */
type Recipe =
  | { kind: "variable"; which: number }
  | { kind: "constant"; value: number }
  | { kind: "add" | "sub"; a: Recipe; b: Recipe }
  | { kind: "mul" | "divide" | "modulo"; a: Recipe; by: number };

const sizes = [2, 3, 5, 8];

const recipes: fc.Arbitrary<Recipe> = fc.letrec<{ recipe: Recipe }>((tie) => ({
  recipe: fc.oneof(
    { depthSize: "medium", withCrossShrink: true },
    fc.record({ kind: fc.constant("variable" as const), which: fc.nat(sizes.length - 1) }),
    fc.record({ kind: fc.constant("constant" as const), value: fc.nat(20) }),
    fc.record({ kind: fc.constantFrom("add", "sub"), a: tie("recipe"), b: tie("recipe") }),
    fc.record({
      kind: fc.constantFrom("mul", "divide", "modulo"),
      a: tie("recipe"),
      by: fc.integer({ min: 1, max: 12 }),
    }),
  ),
})).recipe;

function build(e: ExprBuilder, recipe: Recipe): Expr {
  switch (recipe.kind) {
    case "variable":
      return e.variable(recipe.which, sizes[recipe.which]!);
    case "constant":
      return e.int(recipe.value);
    case "add":
    case "sub":
      return e.apply(recipe.kind, build(e, recipe.a), build(e, recipe.b));
    default:
      return e.apply(recipe.kind, build(e, recipe.a), e.int(recipe.by));
  }
}

function valueOf(recipe: Recipe, point: readonly number[]): number {
  switch (recipe.kind) {
    case "variable":
      return point[recipe.which]!;
    case "constant":
      return recipe.value;
    case "add":
      return valueOf(recipe.a, point) + valueOf(recipe.b, point);
    case "sub":
      return valueOf(recipe.a, point) - valueOf(recipe.b, point);
    case "mul":
      return valueOf(recipe.a, point) * recipe.by;
    case "divide":
      return Math.trunc(valueOf(recipe.a, point) / recipe.by);
    case "modulo":
      return valueOf(recipe.a, point) % recipe.by;
  }
}

function evaluate(x: Expr, point: readonly number[]): number {
  if (x.op === "const") return x.value;
  if (x.op === "variable") return point[x.value]!;
  const args = x.args.map((arg) => evaluate(arg, point));
  return scalarOps[x.op as keyof typeof scalarOps].evaluate(args, x.dtype);
}

const points = fc.tuple(...sizes.map((size) => fc.nat(size - 1)));

Deno.test("simplified indices have the value and the bounds of what was written", () => {
  fc.assert(
    fc.property(recipes, points, (recipe, point) => {
      const x = build(new ExprBuilder(), recipe);
      const value = evaluate(x, point);
      assert(value === valueOf(recipe, point), `${value} is not ${valueOf(recipe, point)}`);
      assert(value >= x.min && value <= x.max, `${value} is outside ${x.min}..${x.max}`);
    }),
    { numRuns: 3000 },
  );
});

Deno.test("equal expressions are one object", () => {
  const e = new ExprBuilder();
  const i = e.variable(0, 4), j = e.variable(1, 4);
  assertStrictEquals(e.apply("add", i, j), e.apply("add", j, i));
});

Deno.test("splitting an index and putting it together again leaves nothing", () => {
  const e = new ExprBuilder();
  const i = e.variable(0, 12 * 7);
  const high = e.apply("divide", i, e.int(7)), low = e.apply("modulo", i, e.int(7));
  assertStrictEquals(e.apply("add", e.apply("mul", high, e.int(7)), low), i);
});

Deno.test("an index through a flattened loop is that of the outer loop", () => {
  const e = new ExprBuilder();
  const row = e.variable(0, 4 * 5), column = e.variable(1, 8);
  const position = e.apply("add", e.apply("mul", row, e.int(8)), column);
  assertStrictEquals(
    e.apply("divide", position, e.int(40)),
    e.apply("divide", row, e.int(5)),
  );
  const within = e.apply("modulo", position, e.int(40));
  assertStrictEquals(e.apply("divide", within, e.int(8)), e.apply("modulo", row, e.int(5)));
});

Deno.test("affine() reads the strides of a linear index", () => {
  const e = new ExprBuilder();
  const i = e.variable(0, 4), j = e.variable(1, 5);
  const index = e.apply("add", e.apply("mul", i, e.int(5)), e.apply("add", j, e.int(2)));
  const form = affine(index)!;
  assertEquals([form.constant, form.terms.get(i), form.terms.get(j)], [2, 5, 1]);
  assertEquals(affine(e.apply("modulo", i, e.int(3))), undefined);
});
