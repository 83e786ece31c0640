/** A choice among schemas of objects by what one of their fields says. */
import { z } from "npm:zod@4.6.7";

/**
 * The schema of objects of several kinds, told apart by one field, which may be missing where it is the usual kind.
 *
 * @param field The field, a literal in each of the schemas.
 * @param schemas The schema of each kind.
 * @param usual The kind of an object without the field.
 * @returns A schema whose messages are those of the kind that is found.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { z } from "npm:zod@4.6.7";
 * import { byField } from "./by_field.ts";
 *
 * const a = z.strictObject({ kind: z.literal("a"), x: z.number() });
 * const b = z.strictObject({ kind: z.literal("b") });
 * const schema = byField("kind", [a, b], "a");
 * assertEquals(schema.parse({ x: 1 }), { kind: "a", x: 1 });
 * assertEquals(schema.safeParse({ kind: "c" }).error!.issues[0]!.message, "expected a or b but found c");
 * ```
 */
export function byField<const Schemas extends readonly [z.ZodObject, ...z.ZodObject[]]>(
  field: string,
  schemas: Schemas,
  usual: string,
): z.ZodType<z.output<Schemas[number]>, z.input<Schemas[number]>> {
  const names = schemas.map(({ shape }) => [...shape[field]!._zod.values!][0]);
  const wanted = `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
  const union = z.discriminatedUnion(field, schemas as unknown as [z.ZodObject], {
    error: ({ input }) =>
      isObject(input)
        ? `expected ${wanted} but found ${input[field]}`
        : `expected an object but found ${input}`,
  });
  const filled = z.preprocess(
    (value) => isObject(value) && value[field] === undefined ? { ...value, [field]: usual } : value,
    union,
  );
  return filled as unknown as ReturnType<typeof byField<Schemas>>;
}

/** Whether something has fields. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
