/** Where in a user's code an op was applied. */

/** A stack to be looked at later; taking it is cheap. */
export function takeStack(): Error {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 64;
  const stack = new Error();
  Error.stackTraceLimit = limit;
  return stack;
}

const root = new URL("../../", import.meta.url).href;

/**
 * The innermost frames of a stack that are not of the runtime or the ops, innermost first:
 * `models/layers/linear.ts:36:10`, or a whole URL for files elsewhere.
 */
export function callSites({ stack = "" }: Error, most = 3): string[] {
  const places = stack.split("\n").flatMap((line) =>
    /((?:file|https?|blob):\S+:\d+:\d+)\)?$/.exec(line)?.[1] ?? []
  );
  return places
    .map((place) => place.startsWith(root) ? place.slice(root.length) : place)
    .filter((place) => !/^(lib|ops)\//.test(place) || /_test\.ts/.test(place))
    .slice(0, most);
}
