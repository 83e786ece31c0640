/** Profiles on devices that run a program while its caller waits. */

/**
 * Times steps that run one after the other.
 *
 * @param run Runs them; calls `finished` after each.
 * @returns The milliseconds of each step.
 */
export function timeSteps(run: (finished: () => void) => void): Promise<readonly number[]> {
  const milliseconds: number[] = [];
  let before = performance.now();
  run(() => {
    const now = performance.now();
    milliseconds.push(now - before);
    before = now;
  });
  return Promise.resolve(milliseconds);
}
