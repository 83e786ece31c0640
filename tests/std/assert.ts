// The part of @std/assert that Tessera uses, over node:assert, so that npm alone can install everything.
// Where JSR is reachable, deno.json may say instead: "@std/assert": "jsr:@std/assert@1"
import { AssertionError as NodeAssertionError, deepStrictEqual } from "node:assert";
import { inspect, isDeepStrictEqual } from "node:util";

/** Thrown by every failed assertion of this file. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

function show(value: unknown): string {
  return inspect(value, { depth: 6 });
}

/** Throws an `AssertionError` made of what went wrong and the caller's own message. */
function reject(problem: string, message?: string): never {
  throw new AssertionError(message === undefined ? problem : `${problem}: ${message}`);
}

/**
 * A copy in which -0 is 0 and properties that are undefined are left out, because @std/assert takes
 * those as equal and node:assert does not. Anything but plain objects and arrays is kept as it is.
 */
function canonical(value: unknown, seen = new Map<object, unknown>()): unknown {
  if (value === 0) return 0;
  if (typeof value !== "object" || value === null) return value;
  const prototype = Object.getPrototypeOf(value);
  const isArray = prototype === Array.prototype;
  if (!isArray && prototype !== Object.prototype && prototype !== null) {
    return value instanceof Float32Array || value instanceof Float64Array
      ? value.map((x) => x + 0)
      : value;
  }
  if (seen.has(value)) return seen.get(value);
  const copy: Record<PropertyKey, unknown> = isArray ? [] as never : Object.create(prototype);
  seen.set(value, copy);
  for (const key of Reflect.ownKeys(value)) {
    if (isArray && key === "length") copy.length = (value as unknown[]).length;
    else if (Object.prototype.propertyIsEnumerable.call(value, key)) {
      const item = (value as Record<PropertyKey, unknown>)[key];
      if (isArray || item !== undefined) copy[key] = canonical(item, seen);
    }
  }
  return copy;
}

function equal(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(canonical(a), canonical(b));
}

/** Asserts that a value is truthy. */
export function assert(condition: unknown, message = ""): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Fails always. */
export function fail(message?: string): never {
  reject("Failed assertion", message);
}

/** Asserts that two values are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  if (equal(actual, expected)) return;
  try {
    deepStrictEqual(canonical(actual), canonical(expected));
  } catch (error) {
    if (error instanceof NodeAssertionError) reject(error.message, message);
    throw error;
  }
}

/** Asserts that two values are not deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  if (equal(actual, expected)) {
    reject(`Expected a value that differs from ${show(expected)}`, message);
  }
}

/** Asserts that two values are the same value (`Object.is`). */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  message?: string,
): asserts actual is T {
  if (!Object.is(actual, expected)) {
    reject(`Expected ${show(expected)} itself but found ${show(actual)}`, message);
  }
}

/** Asserts that two numbers differ by at most a tolerance (by default 1e-7 of the expected one). */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  message?: string,
): void {
  if (Object.is(actual, expected)) return;
  const allowed = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  const difference = Math.abs(expected - actual);
  if (difference <= allowed) return;
  reject(
    `Expected ${expected} within ${allowed} but found ${actual}, which is ${difference} away`,
    message,
  );
}

/** Asserts that a value is neither null nor undefined. */
export function assertExists<T>(
  actual: T,
  message?: string,
): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) {
    reject(`Expected a value that is not null or undefined but found ${actual}`, message);
  }
}

/** Asserts that a text contains another one. */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  if (!actual.includes(expected)) {
    reject(`Expected ${show(actual)} to contain ${show(expected)}`, message);
  }
}

/** Asserts that a text matches a regular expression. */
export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  if (!expected.test(actual)) reject(`Expected ${show(actual)} to match ${expected}`, message);
}

/** Asserts that a value is an instance of a class. */
// deno-lint-ignore no-explicit-any
export function assertInstanceOf<T extends abstract new (...args: any[]) => any>(
  actual: unknown,
  expectedType: T,
  message = "",
): asserts actual is InstanceType<T> {
  if (!(actual instanceof expectedType)) {
    reject(`Expected an instance of ${expectedType.name} but found ${show(actual)}`, message);
  }
}

/** Asserts that `actual` is greater than `expected`. */
export function assertGreater<T>(actual: T, expected: T, message?: string): void {
  if (!(actual > expected)) reject(`Expected ${show(actual)} > ${show(expected)}`, message);
}

/** Asserts that `actual` is greater than or equal to `expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, message?: string): void {
  if (!(actual >= expected)) reject(`Expected ${show(actual)} >= ${show(expected)}`, message);
}

/** Asserts that `actual` is less than `expected`. */
export function assertLess<T>(actual: T, expected: T, message?: string): void {
  if (!(actual < expected)) reject(`Expected ${show(actual)} < ${show(expected)}`, message);
}

/** Asserts that `actual` is less than or equal to `expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, message?: string): void {
  if (!(actual <= expected)) reject(`Expected ${show(actual)} <= ${show(expected)}`, message);
}

/** Asserts that an object holds at least the properties of another one, deeply. */
export function assertObjectMatch(
  // deno-lint-ignore no-explicit-any
  actual: Record<PropertyKey, any>,
  expected: Record<PropertyKey, unknown>,
  message?: string,
): void {
  assertEquals(common(actual, expected), expected, message);
}

/** The part of `actual` that `expected` speaks of. */
function common(actual: unknown, expected: unknown): unknown {
  if (Array.isArray(actual) && Array.isArray(expected)) {
    return actual.map((item, i) => i in expected ? common(item, expected[i]) : item)
      .slice(0, expected.length);
  }
  if (!isPlainObject(actual) || !isPlainObject(expected)) return actual;
  return Object.fromEntries(
    Object.keys(expected).filter((key) => key in actual)
      .map((key) => [key, common(actual[key], expected[key])]),
  );
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null &&
    Object.getPrototypeOf(value) === Object.prototype;
}

/** Asserts that a value is an error, of a class and with a text in its message where these are given. */
export function assertIsError<E extends Error = Error>(
  error: unknown,
  errorClass?: ErrorClass<E>,
  messageIncludes?: string | RegExp,
  message?: string,
): asserts error is E {
  if (!(error instanceof Error)) reject(`Expected an Error but found ${show(error)}`, message);
  if (errorClass && !(error instanceof errorClass)) {
    reject(
      `Expected an error of class ${errorClass.name} but found ${error.constructor.name}` +
        ` ("${error.message}")`,
      message,
    );
  }
  if (messageIncludes === undefined) return;
  const found = typeof messageIncludes === "string"
    ? error.message.includes(messageIncludes)
    : messageIncludes.test(error.message);
  if (!found) {
    reject(`Expected an error message with "${messageIncludes}" but found "${error.message}"`);
  }
}

/** Asserts that a function throws, and returns what it threw. */
export function assertThrows(fn: () => unknown, message?: string): unknown;
/** Asserts that a function throws an error of a class, and returns the error. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  errorClass: ErrorClass<E>,
  messageIncludes?: string,
  message?: string,
): E;
export function assertThrows<E extends Error>(
  fn: () => unknown,
  errorClassOrMessage?: ErrorClass<E> | string,
  messageIncludes?: string,
  message?: string,
): unknown {
  let returned: unknown;
  try {
    returned = fn();
  } catch (error) {
    if (typeof errorClassOrMessage === "function") {
      assertIsError(error, errorClassOrMessage, messageIncludes, message);
    }
    return error;
  }
  if (returned instanceof Promise) {
    returned.catch(() => {});
    reject("Function returned a promise: use assertRejects instead of assertThrows");
  }
  const own = typeof errorClassOrMessage === "string" ? errorClassOrMessage : message;
  reject("Expected function to throw", own);
}

/** Asserts that a promise is rejected, and returns what it was rejected with. */
export function assertRejects(fn: () => PromiseLike<unknown>, message?: string): Promise<unknown>;
/** Asserts that a promise is rejected with an error of a class, and returns the error. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClass: ErrorClass<E>,
  messageIncludes?: string,
  message?: string,
): Promise<E>;
export async function assertRejects<E extends Error>(
  fn: () => PromiseLike<unknown>,
  errorClassOrMessage?: ErrorClass<E> | string,
  messageIncludes?: string,
  message?: string,
): Promise<unknown> {
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch (error) {
    reject(`Function threw instead of rejecting (${show(error)})`, message);
  }
  try {
    await promise;
  } catch (error) {
    if (typeof errorClassOrMessage === "function") {
      assertIsError(error, errorClassOrMessage, messageIncludes, message);
    }
    return error;
  }
  const own = typeof errorClassOrMessage === "string" ? errorClassOrMessage : message;
  reject("Expected function to reject", own);
}
