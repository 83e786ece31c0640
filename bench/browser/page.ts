/** What the page of the browser check runs. */
import { currentDevice } from "../../mod.ts";
import { firstLosses } from "./losses.ts";

const report = async () => {
  try {
    const losses = await firstLosses("webgpu");
    return { losses, device: currentDevice().description };
  } catch (error) {
    return { error: error instanceof Error ? `${error.stack ?? error.message}` : String(error) };
  }
};
await fetch("/result", { method: "POST", body: JSON.stringify(await report()) });
