/** What the page of the browser check runs. */
import { currentDevice } from "../../mod.ts";
import { firstLosses } from "./losses.ts";

const losses = await firstLosses("webgpu");
const { description } = currentDevice();
await fetch("/result", { method: "POST", body: JSON.stringify({ losses, device: description }) });
