// Loaded with `node --import`: packages of BrainPilot that are not installed are stood in for by
// missing.mjs, so that its backend can be started without its own runtime. Installed ones win.

import { register } from "node:module";

if (import.meta.url.endsWith("?hook") === false) {
  register(`${import.meta.url}?hook`);
}

const STAND_IN = new URL("./missing.mjs", import.meta.url).href;

export async function resolve(name, context, next) {
  try {
    return await next(name, context);
  } catch (error) {
    if (!name.startsWith("@brainpilot/")) throw error;
    return { url: STAND_IN, shortCircuit: true };
  }
}
