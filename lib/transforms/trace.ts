/** Whether a transform is building a graph right now. */

let depth = 0;

/** Inside a transform: handles are not tracked, and jitted functions are traced through. */
export function inTrace(): boolean {
  return depth > 0;
}

/** Runs `body` as part of a trace. */
export function tracing<T>(body: () => T): T {
  depth++;
  try {
    return body();
  } finally {
    depth--;
  }
}
