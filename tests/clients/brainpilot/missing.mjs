// What BrainPilot's backend imports from its own packages, as far as its proxy needs it. The route
// names are those the backend asks for, method and path are the ones our daemon serves.

const one = "/sessions/:id";
const trace = `${one}/trace`;
const files = `${one}/files`;

const table = {
  metrics: "GET /metrics",
  mcpStatus: "GET /mcp/status",
  setRuntimeCapabilities: "PUT /runtime/capabilities",
  listSessions: "GET /sessions",
  createSession: "POST /sessions",
  getSession: `GET ${one}`,
  updateSession: `PUT ${one}`,
  deleteSession: `DELETE ${one}`,
  getSessionState: `GET ${one}/state`,
  getSessionStats: `GET ${one}/stats`,
  getSessionHistory: `GET ${one}/history`,
  listAgents: `GET ${one}/agents`,
  evictSession: `POST ${one}/evict`,
  sendMessage: `POST ${one}/messages`,
  interrupt: `POST ${one}/interrupt`,
  interruptTool: `POST ${one}/tools/:toolCallId/interrupt`,
  sessionEvents: "GET /sse/:id",
  listFiles: `GET ${files}`,
  readFile: `GET ${files}/content`,
  readRawFile: `GET ${files}/raw`,
  writeFile: `POST ${files}`,
  deleteFile: `DELETE ${files}`,
  getAuditReports: `GET ${one}/audits`,
  getTrace: `GET ${trace}`,
  getTraceChanges: `GET ${trace}/changes`,
  decideTraceDependency: `POST ${trace}/dependencies/:dependencyId/decision`,
  getTraceNodeCheckpoints: `GET ${trace}/nodes/:nodeId/checkpoints`,
  getTraceCausalRollbackPreview: `GET ${trace}/nodes/:nodeId/rollback-preview`,
  rollbackTraceNode: `POST ${trace}/nodes/:nodeId/rollback`,
  getTraceCheckpointDiff: `GET ${trace}/checkpoints/:checkpointId/diff`,
  getTraceRestorePreview: `GET ${trace}/checkpoints/:checkpointId/restore-preview`,
  restoreTraceCheckpoint: `POST ${trace}/checkpoints/:checkpointId/restore`,
};

export const RUNTIME_ROUTES = Object.fromEntries(
  Object.entries(table).map(([name, row]) => {
    const [method, path] = row.split(" ");
    return [name, { method, path }];
  }),
);

// Never called by the proxy: they only have to be there when the backend is loaded.
const absent = () => {
  throw new Error("not installed");
};
const schema = { safeParse: () => ({ success: false, error: { issues: [] } }) };
export {
  schema as McpByokInfoSchema,
  schema as McpServerConfigSchema,
  schema as ProviderProfileCreateSchema,
  schema as ProviderProfileUpdateSchema,
  absent as comparePluginVersions,
  absent as deriveProviderApi,
  absent as gracefulSignalsSupported,
  absent as isBrainPilotVersionCompatible,
  absent as isPluginVersion,
  absent as isSafePluginPath,
  absent as parsePluginManifest,
  absent as parsePublishablePluginManifest,
  absent as resolveBundledKbDir,
  absent as runCompatHookEvent,
};
export const EXAMPLE_MODEL = "none";
export const PLUGIN_API_VERSION = "0";
export const SUPPORTED_PLUGIN_PROTOCOLS = {};
