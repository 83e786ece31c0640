// For the tests of readers: damaged bytes must give a clean error or a value, never a crash.
import { assert } from "@std/assert";
import fc from "npm:fast-check@4.10.2";

/** One change of a file: overwrite, remove or insert bytes, or cut the file off. */
interface Damage {
  kind: "overwrite" | "remove" | "insert" | "cut";
  /** Where, as a fraction of the file. */
  place: number;
  bytes: Uint8Array;
}

const damage: fc.Arbitrary<Damage> = fc.record({
  kind: fc.constantFrom("overwrite", "overwrite", "remove", "insert", "cut"),
  place: fc.double({ min: 0, max: 1, noNaN: true }),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 8 }),
    fc.stringMatching(/^[-0-9{}[\]:,"'() ]{1,6}$/).map((text) => new TextEncoder().encode(text)),
  ),
});

function apply(file: Uint8Array, { kind, place, bytes }: Damage): Uint8Array {
  const start = Math.floor(place * file.length);
  const before = file.slice(0, start);
  const after = kind === "insert" ? file.slice(start) : file.slice(start + bytes.length);
  if (kind === "cut") return before;
  return new Uint8Array(
    kind === "remove" ? [...before, ...after] : [...before, ...bytes, ...after],
  );
}

/**
 * Asserts that a reader, given 200 damaged versions of a file, either reads a value (and finds it
 * consistent) or throws an error whose message matches: no other exception, no endless loop.
 */
export function assertSurvivesDamage(
  file: Uint8Array,
  read: (bytes: Uint8Array) => void,
  message: RegExp,
): void {
  fc.assert(
    fc.property(fc.array(damage, { minLength: 1, maxLength: 3 }), (damages) => {
      try {
        read(damages.reduce(apply, file));
      } catch (error) {
        assert(
          error instanceof Error && error.name === "Error" && message.test(error.message),
          `expected an error with ${message} but found ${error}`,
        );
      }
    }),
    { numRuns: 200 },
  );
}
