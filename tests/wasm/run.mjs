// Runs a planned model in WebAssembly: node run.mjs JOB.json. What the job says is in test_node.py.
// All that a host does: memory, one image of it, kernels in the function table, a call.
import { readFileSync, writeFileSync } from "node:fs";

const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
const memory = new WebAssembly.Memory({ initial: job.pages });
const module = new WebAssembly.Module(readFileSync(job.module));
const { exports } = new WebAssembly.Instance(module, { env: { memory } });
if (exports.__heap_base.value > job.base) {
  throw new Error(`the module's own memory ends at ${exports.__heap_base.value}, expected ${job.base} or less`);
}
const view = new DataView(memory.buffer);
const bytes = new Uint8Array(memory.buffer);
bytes.set(readFileSync(job.image), job.base);

const table = exports.__indirect_function_table;
for (const [address, name] of job.kernels) {
  const index = table.grow(1);
  table.set(index, exports[name]);
  view.setBigInt64(address, BigInt(index), true);
}
const inputs = readFileSync(job.inputs);
const outputs = [];
for (let at = 0; at < inputs.length; at += job.input.bytes) {
  bytes.set(inputs.subarray(at, at + job.input.bytes), job.input.address);
  exports.edgert_run_single(...job.arguments.map(BigInt));
  outputs.push(bytes.slice(job.output.address, job.output.address + job.output.bytes));
}
writeFileSync(job.outputs, Buffer.concat(outputs));
const version = view.getBigInt64(exports.edgert_abi_version.value, true);
const level = new TextDecoder().decode(bytes.slice(exports.edgert_level.value, exports.edgert_level.value + 32));
console.log(Number(version), level.replace(/\0+$/, ""));
