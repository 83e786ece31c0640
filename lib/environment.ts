/** Settings from the environment, where there is one that may be read. */

/** The value of an environment variable; undefined if it is unset or there is no permission. */
export function environment(name: string): string | undefined {
  if (typeof Deno === "undefined") return undefined;
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) : undefined;
}
